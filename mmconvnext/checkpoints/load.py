"""Load a module's weights strictly, and report what was loaded.

mmengine's ``Pretrained`` initialisation loads with ``strict=False`` and does not know the ``model``
wrapper, so that an official ConvNeXt file loads nothing and training starts from random weights.
Here every tensor is accounted for, or loading raises an error.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmconvnext.checkpoints import description
from mmconvnext.checkpoints.convert import Recognised, fit_shape, rename_norm, to_official
from mmconvnext.checkpoints.description import STEM, backbone_of, describe_size
from mmconvnext.checkpoints.finite import require_finite, require_readable
from mmconvnext.checkpoints.read import Found, find_tensors, read_checkpoint
from mmconvnext.errors import ArgumentError, CheckpointError

_CHECK = 'check that the config (size, use_grn, num_classes) is the one of the file'
_TOP = {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}  # of a classifier
_POLICIES = {
    'norm3': ('fresh', 'from_classifier', 'from_file'),
    'stem': ('repeat', 'mean', 'zero_extra', 'random'),
}


@dataclass
class LoadReport:
    """A comparison of a file's tensors with a module's, by the module's names."""

    source: str  # the file's name in messages
    called: str  # the module's name in messages
    state: dict[str, Tensor]  # the file's tensors, in the module's shapes
    target: dict[str, Tensor]  # the module's tensors
    cause: str = ''  # why they may not fit
    contents: str = ''  # the file's family and size
    recognised: Recognised | None = None
    aside: Sequence[str] = ()  # other names in the file
    notes: Sequence[str] = ()
    prefix: str = ''  # prefix of the names in the file

    def __post_init__(self) -> None:
        self.loaded = {key: value for key, value in self.state.items() if key in self.target}
        self.new = [key for key in self.target if key not in self.state]
        self.unused = [key for key in self.state if key not in self.target] + [*self.aside]

    @property
    def checksum(self) -> str:
        """CRC-32 of the loaded tensors, by name."""
        crc = 0
        for key in sorted(self.loaded):
            crc = zlib.crc32(self.loaded[key].flatten().view(torch.uint8).numpy().data, crc)
        return f'{crc:08x}'

    def __str__(self) -> str:
        loaded = f'Loaded {len(self.loaded)} tensors (CRC-32 {self.checksum})'
        told = [f'{loaded} from {self.source}{self.contents}']
        for what, keys in {'new': self.new, 'left aside': self.unused}.items():
            parts = dict.fromkeys(key.split('.')[0] for key in keys)
            told.append(f'{what}: {", ".join(parts) or "none"}')
        return '; '.join([*told, *self.notes])

    def require_fit(self, new: Sequence[str] = (), unused: Sequence[str] = ()) -> None:
        """Check that the file has all tensors of the module, in their shapes and finite.

        Raises:
            CheckpointError: tensors do not fit; the message names them. Names with a prefix in
                ``new`` may be missing, names with a prefix in ``unused`` are ignored.
        """
        # An optional part is either complete or missing completely.
        new = tuple(part for part in new if not any(key.startswith(part) for key in self.state))
        unexpected = [key for key in self.state if key not in self.target]
        shapes = {k: (tuple(v.shape), tuple(self.target[k].shape)) for k, v in self.loaded.items()}
        problems = {
            'missing': [key for key in self.new if not key.startswith(new)],
            'unexpected': [key for key in unexpected if not key.startswith(tuple(unused))],
            'of another shape': [f'{k} {a} for {b}' for k, (a, b) in shapes.items() if a != b],
        }
        if told := [self._tell(problem, keys) for problem, keys in problems.items() if keys]:
            misfit = f'{self.source}{self.contents} does not fit {self.called}'
            raise CheckpointError(f'{misfit}: {"; ".join(told)}; {self.cause or _CHECK}')
        require_finite(self.loaded, self.source)

    def _tell(self, problem: str, keys: Sequence[str], shown: int = 5) -> str:
        more = f', … ({len(keys) - shown} more)' if len(keys) > shown else ''
        return f'{len(keys)} {problem}: {", ".join(self.prefix + k for k in keys[:shown])}{more}'


def read_init_cfg(config: Mapping[str, Any], known: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the checkpoint and the options of an ``init_cfg`` of type ``'Pretrained'``.

    Raises:
        ArgumentError: the checkpoint is missing, or an option is not in ``known``.
    """
    if not config.get('checkpoint'):
        raise ArgumentError("init_cfg of type 'Pretrained': expected a checkpoint, got none")
    # map_location is mmengine's; here the file is read on the CPU and copied to the model's device.
    read = ('type', 'checkpoint', 'map_location')
    options = {key: value for key, value in config.items() if key not in read}
    if unknown := sorted(set(options) - set(known)):
        raise ArgumentError(
            f'init_cfg: expected checkpoint, {", ".join(known)}, got {", ".join(unknown)}'
        )
    return config['checkpoint'], options


def load(
    module: nn.Module,
    checkpoint: str,
    *,
    ema: bool = False,
    sha256: str | None = None,
    whole: bool = False,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
    **options: Any,
) -> LoadReport:
    """Load a file's weights in place, strictly.

    Args:
        module: A backbone, or an ``ImageClassifier``.
        checkpoint: File or URL.
        ema: Use the weights averaged over training.
        sha256: SHA-256 of the file, or its beginning.
        whole: Whether the module is a whole classifier.
        new: Prefixes of names that the file may lack; these parameters are not changed.
        unused: Prefixes of names in the file that the module may lack.
        options: Options of :func:`compare_backbone`.

    Raises:
        ArgumentError: the value of an option is not allowed.
        CheckpointError: any other tensor is missing, unexpected, of another shape or not finite.
            The module is then unchanged.
    """
    for option, named in _POLICIES.items():
        if (given := options.get(option, named[0])) not in named:
            raise ArgumentError(f'init_cfg: expected {option} of {", ".join(named)}, got {given!r}')
    found = find_tensors(read_checkpoint(checkpoint, sha256=sha256), checkpoint, ema=ema)
    compare = compare_whole if whole else compare_backbone
    report = compare(module, found, str(checkpoint), **options)
    report.require_fit(new, unused)
    module.load_state_dict(report.loaded, strict=False)
    print_log(str(report), logger='current')
    if known := report.recognised:
        keys = known.state | known.aside
        description.announce_licence(known.format.name, keys, str(checkpoint))
    return report


def compare_backbone(
    module: nn.Module,
    found: Found,
    source: str,
    *,
    prefix: str | None = None,
    norm3: str = 'fresh',
    stem: str = 'repeat',
    own: str = '',
) -> LoadReport:
    """Compare a backbone with a file's tensors, of any family in ``formats``.

    Args:
        module: The backbone.
        found: The file's tensors; they may be part of a whole model.
        source: The file's name in messages.
        prefix: Prefix of the tensors to load, such as ``'backbone.'``; None finds it.
        norm3: The last stage's output norm, if the file has only a classifier's norm:
            ``'fresh'`` initialises it anew, as the official recipes do; ``'from_classifier'``
            copies the classifier's norm; ``'from_file'`` copies it if the file has one.
        stem: How to adapt a stem of three channels to another number: ``'repeat'`` repeats the
            channels and ``'mean'`` repeats their mean, both scaled to keep the sum;
            ``'zero_extra'`` adds zeros; ``'random'`` draws a new stem.
        own: Name in messages of a network that belongs to no family; its files have its own names.

    Raises:
        CheckpointError: the file has no ConvNeXt, or several.
    """
    target = module.state_dict()
    if own:
        if prefix is None:
            prefix = 'backbone.' if backbone_of(found.tensors) else ''
        top = {key: value for key, value in found.tensors.items() if key in _TOP}
        state = _with_norm3(top | _below(prefix, found, source), target, norm3)
        cause = 'check that the file is of this very network'
        aside = [k for k in found.tensors if not k.startswith(prefix) and k not in top]
        return LoadReport(source, own, state, target, cause, aside=aside, prefix=prefix)
    recognised = to_official(_below(prefix or '', found, source), source)
    state = _in_shape(recognised.state, target) | recognised.unknown
    state, notes = _with_norm3(state, target, norm3), []
    given, channels = (tensors[STEM].shape[1] for tensors in (state, target))
    if given != channels:
        state[STEM] = _adapted(state[STEM], channels, stem)
        adapted = f"stem of {given} channels adapted to {channels} by '{stem}'"
        notes.append(f'{adapted} (init_cfg: stem=…)')
    if recognised.prefix.endswith('visual.trunk.'):
        notes.append(
            "CLIP's weights expect its own data_preprocessor: mean=[122.77, 116.75, 104.09], "
            'std=[68.50, 66.63, 70.32]'
        )
    called = f'this backbone ({describe_size(target)})'
    cause = description.backbone_misfit(state, target)
    contents = f' ({_origin(recognised, found.place)}; {describe_size(state)})'
    aside = [*recognised.aside, *recognised.outside]
    return LoadReport(source, called, state, target, cause, contents, recognised, aside, notes)


def compare_whole(
    module: nn.Module, found: Found, source: str, called: str = 'the classifier', heads: bool = True
) -> LoadReport:
    """Compare a whole model with the officially named tensors of the file ``source``.

    Without ``heads``, tensors outside the ``backbone`` are ignored if they do not fit.

    Raises:
        CheckpointError: a tensor is sparse or has an unusual type.
    """
    require_readable(found.tensors, source)
    target, other = module.state_dict(), description.other_model(found.tensors)
    cause, classifier = f'its keys look like {other}' if other else '', is_classifier(target)
    state, recognised = with_official_names(found.tensors, classifier=classifier)
    state = _in_shape(state, target)
    if not heads:
        kept = {k for k, v in target.items() if k in state and state[k].shape == v.shape}
        kept |= {k for k in state | target if k.startswith('backbone.')}
        state, target = ({k: v for k, v in d.items() if k in kept} for d in (state, target))
    elif classifier and not cause:
        cause = description.classifier_misfit(state, target)
    return LoadReport(source, called, state, target, cause, recognised=recognised)


def is_classifier(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict is that of an ``ImageClassifier``: a backbone with a head."""
    top = {key for key in state if not key.startswith('backbone.')}
    return 'head.weight' in top and top <= _TOP


def with_official_names(
    state: Mapping[str, Tensor], *, classifier: bool
) -> tuple[dict[str, Tensor], Recognised | None]:
    """Return a whole model's tensors, with the ConvNeXt officially named, and its family.

    The ConvNeXt's names are below ``backbone.``. A model without a ConvNeXt is returned unchanged,
    and no tensor is dropped. A classifier may belong to any family; in other models only tensors
    below ``backbone.`` are renamed.
    """
    inside = state if classifier else backbone_of(state)
    try:
        recognised = to_official(inside, 'the model')
    except CheckpointError:
        return dict(state), None
    named = recognised.state | recognised.unknown
    if classifier:
        top = {key: named.pop(key) for key in recognised.state if key in _TOP}
        others = recognised.outside | top
    else:
        # In a whole model, norm3 is an output norm even if it is the only one.
        named = rename_norm(named, 'norm.', 'norm3.') | recognised.outside
        others = {key: value for key, value in state.items() if not key.startswith('backbone.')}
    named |= recognised.aside
    return others | {f'backbone.{key}': value for key, value in named.items()}, recognised


def _below(prefix: str, found: Found, source: str) -> dict[str, Tensor]:
    below = {k[len(prefix) :]: v for k, v in found.tensors.items() if k.startswith(prefix)}
    if not below:
        raise CheckpointError(
            f'{source}: expected keys that begin with {prefix!r}, found '
            f'{", ".join(list(found.tensors)[:3])}, …'
        )
    return below


def _in_shape(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: fit_shape(v, target[k].shape) if k in target else v for k, v in state.items()}


def _with_norm3(state: dict[str, Tensor], target: Mapping, norm3: str) -> dict[str, Tensor]:
    """Add the classifier's norm as the last stage's output norm, if it is missing and wanted."""
    if norm3 == 'fresh' or 'norm3.weight' not in target.keys() - state.keys():
        return state
    if 'norm.weight' in state:
        return rename_norm(state, 'norm.', 'norm3.')
    if norm3 == 'from_file':
        return state
    raise CheckpointError(
        "norm3='from_classifier': expected a file with a classifier's norm, found none; take "
        "norm3='fresh'"
    )


def _origin(recognised: Recognised, place: str) -> str:
    """Return the family, and where in the file its keys are."""
    whole = description.describe_whole(recognised.outside)
    prefix = f'{recognised.prefix!r} of {whole}' if whole else repr(recognised.prefix)
    places = [repr(place)] * bool(place) + [prefix] * bool(recognised.prefix)
    return ', '.join([recognised.format.name, *places])


def _adapted(stem: Tensor, channels: int, policy: str) -> Tensor:
    """Adapt a stem's weight, (C, c, 4, 4), to another number of channels."""
    given = stem.shape[1]
    turns = stem[:, [i % given for i in range(channels)]]
    if policy == 'repeat':
        return turns * (given / channels)
    if policy == 'mean':
        return stem.mean(1, keepdim=True).expand_as(turns) * (given / channels)
    if policy == 'random':
        return nn.init.trunc_normal_(turns, std=0.02)
    turns[:, given:] = 0
    return turns
