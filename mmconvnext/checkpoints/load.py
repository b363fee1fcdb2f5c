"""Strict loading of a module's weights, with a report.

mmengine's own ``Pretrained`` initialisation loads with ``strict=False`` and knows no ``model``
wrapper, so that an official ConvNeXt file loads nothing there and training starts from noise.
Here every tensor is accounted for or the load raises.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmconvnext.checkpoints import description
from mmconvnext.checkpoints.convert import Recognised, fit_shape, rename_norm, to_official
from mmconvnext.checkpoints.description import STEM, backbone_of, describe_size
from mmconvnext.checkpoints.finite import require_finite, require_readable
from mmconvnext.checkpoints.read import Found, find_tensors, read_checkpoint
from mmconvnext.errors import ArgumentError, CheckpointError

_CLASSIFIER = {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}
_POLICIES = {
    'norm3': ('fresh', 'from_classifier', 'from_file'),
    'stem': ('repeat', 'mean', 'zero_extra', 'random'),
}


@dataclass
class LoadReport:
    """A file's tensors beside a module's, by the module's names, and what a load does."""

    source: str  # what messages call the file
    called: str  # and the module
    state: dict[str, Tensor]  # the file's, in the module's shapes
    target: dict[str, Tensor]  # the module's
    cause: str  # why they may not fit, or ''
    contents: str = ''  # the file's family and size
    recognised: Recognised | None = None
    aside: Sequence[str] = ()  # what else is in the file
    notes: Sequence[str] = ()
    modules: dict[str, nn.Module] = field(default_factory=dict)  # of own names, by what precedes

    def __post_init__(self) -> None:
        self.loaded = {key: value for key, value in self.state.items() if key in self.target}
        self.new = [key for key in self.target if key not in self.state]
        self.unused = [key for key in self.state if key not in self.target] + [*self.aside]

    @property
    def checksum(self) -> str:
        """CRC-32 of the loaded tensors, by name."""
        crc = 0
        for key in sorted(self.loaded):
            crc = zlib.crc32(self.loaded[key].flatten().view(torch.uint8).numpy(), crc)
        return f'{crc:08x}'

    def __str__(self) -> str:
        new, unused = (
            ', '.join(dict.fromkeys(key.removeprefix('backbone.').split('.')[0] for key in keys))
            for keys in (self.new, self.unused)
        )
        tensors = f'{len(self.loaded)} tensors (CRC-32 {self.checksum})'
        told = [f'Loaded {tensors} from {self.source}{self.contents}', f'new: {new or "none"}']
        return '; '.join([*told, f'left aside: {unused or "none"}', *self.notes])

    def require_fit(self, new: Sequence[str] = (), unused: Sequence[str] = ()) -> None:
        """Check that the file has what the module has, by name and shape, and in finite numbers.

        Args:
            new: Beginnings of the module's names that the file may lack, each as a whole.
            unused: Beginnings of the names that the module may lack.

        Raises:
            CheckpointError: with the names of everything that does not fit.
        """
        prefix = next(iter(self.modules), '')
        new, unused = (tuple(prefix + name for name in names) for names in (new, unused))
        # A part that may be missing is missing as a whole.
        new = tuple(part for part in new if not any(key.startswith(part) for key in self.state))
        unexpected = [key for key in self.state if key not in self.target]
        shapes = {k: (tuple(v.shape), tuple(self.target[k].shape)) for k, v in self.loaded.items()}
        problems = {
            'missing': [key for key in self.new if not key.startswith(new)],
            'unexpected': [key for key in unexpected if not key.startswith(unused)],
            'of another shape': [f'{k} {a} for {b}' for k, (a, b) in shapes.items() if a != b],
        }
        if told := [_tell(problem, keys) for problem, keys in problems.items() if keys]:
            told[-1] += '; ' + (
                self.cause
                or 'check that the config (size, use_grn, num_classes) is the one of the file'
            )
            file = f'{self.source}{self.contents}'
            raise CheckpointError(f'{file} does not fit {self.called}: {"; ".join(told)}')
        require_finite(self.loaded, self.source)


def load(
    module: nn.Module,
    checkpoint: str,
    names: str = 'backbone',
    *,
    ema: bool = False,
    sha256: str | None = None,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
    **options: object,
) -> LoadReport:
    """Load a file's weights in place, every tensor accounted for.

    Args:
        module: What to load into.
        checkpoint: File or URL.
        names: The module's: ``'backbone'`` for a ConvNeXt's and ``'classifier'`` for an
            ``ImageClassifier``'s, each for files of any family in
            :mod:`mmconvnext.checkpoints.formats`; ``'own'`` where the file has them as they are.
        ema: Take the weights averaged over training.
        sha256: SHA-256 of the file, or its beginning.
        new: Beginnings of the names that the file may lack; these parameters stay as they are.
        unused: Beginnings of the names that the module may lack.
        options: Of a backbone:

            - ``prefix``: what to take from the file, such as ``'backbone.'``; recognised by
              default.
            - ``norm3``: ``'fresh'`` leaves the output norm of the last stage new where the file
              has only a classifier's, as the official recipes do; ``'from_classifier'`` starts
              from that; ``'from_file'`` too, where the file has it.
            - ``stem``: how a stem for three channels serves another number of them: ``'repeat'``
              takes them in turn and ``'mean'`` their mean, both scaled to keep the sum;
              ``'zero_extra'`` adds zeros; ``'random'`` draws a new stem.

            With own names ``prefix``, which is ``'backbone.'`` by default where there is such;
            ``called``, what messages call the module; ``beside``, modules beside it in a whole
            model, by the beginning of their names there: each is loaded too, where the file has it.

    Raises:
        ArgumentError: ``norm3`` or ``stem`` is none of the above.
        CheckpointError: anything else is missing, unexpected, of another shape or not finite.
            The module is unchanged then.
    """
    for option, known in _POLICIES.items():
        if (given := options.get(option, known[0])) not in known:
            raise ArgumentError(f'init_cfg: expected {option} of {", ".join(known)}, got {given!r}')
    found = find_tensors(read_checkpoint(checkpoint, sha256=sha256), checkpoint, ema=ema)
    report = _COMPARISONS[names](module, found, str(checkpoint), **options)
    report.require_fit(new, unused)
    for at, part in (report.modules or {'': module}).items():
        own = {key[len(at) :]: v for key, v in report.loaded.items() if key.startswith(at)}
        part.load_state_dict(own, strict=False)
    print_log(str(report), logger='current')
    if known := report.recognised:
        keys = known.state | known.aside
        description.announce_licence(known.format.name, keys, str(checkpoint))
    return report


def _with_backbone(
    module: nn.Module,
    found: Found,
    source: str,
    prefix: str | None = None,
    norm3: str = 'fresh',
    stem: str = 'repeat',
) -> LoadReport:
    target, notes = module.state_dict(), []
    recognised = to_official(_below(prefix or '', found, source), source)
    state = _in_shape(recognised.state, target) | recognised.unknown
    if norm3 != 'fresh' and 'norm3.weight' in target.keys() - state.keys():
        if 'norm.weight' in state:
            state = rename_norm(state, 'norm.', 'norm3.')
        elif norm3 == 'from_classifier':
            raise CheckpointError(
                "norm3='from_classifier': expected a file with a classifier's norm, found none; "
                "take norm3='fresh'"
            )
    given, channels = (tensors[STEM].shape[1] for tensors in (state, target))
    if given != channels:
        state[STEM] = _adapted(state[STEM], channels, stem)
        adapted = f'stem of {given} channels adapted to {channels}'
        notes.append(f"{adapted} by '{stem}' (init_cfg: stem=…)")
    if recognised.prefix.endswith('visual.trunk.'):
        notes.append(
            "CLIP's weights expect its own data_preprocessor: mean=[122.77, 116.75, 104.09], "
            'std=[68.50, 66.63, 70.32]'
        )
    called = f'this backbone ({describe_size(target)})'
    cause = description.backbone_misfit(state, target)
    contents = f' ({_origin(recognised, found.place)}; {describe_size(state)})'
    aside = [*recognised.aside, *recognised.outside]
    return LoadReport(
        source, called, state, target, cause, contents, recognised, aside=aside, notes=notes
    )


def compare_whole(
    module: nn.Module, found: Found, source: str, heads: bool = True, classifier: bool = False
) -> LoadReport:
    """Compare a whole model with a file's tensors, officially named below ``backbone.``.

    Args:
        module: The model.
        found: The file's tensors.
        source: What messages call the file.
        heads: Whether all that is not in the ``backbone`` has to fit as well.
        classifier: Whether the model is known to be a classifier, and called so.

    Raises:
        CheckpointError: a tensor is sparse or of an unusual type.
    """
    require_readable(found.tensors, source)
    target, other = module.state_dict(), description.other_model(found.tensors)
    cause = f'its keys look like {other}' if other else ''
    called = 'the classifier' if classifier else 'the model'
    classifier |= is_classifier(target)
    state, recognised = with_official_names(found.tensors, classifier=classifier)
    state = _in_shape(state, target)
    if not heads:
        kept = {k for k, v in target.items() if k in state and state[k].shape == v.shape}
        kept |= {k for k in state | target if k.startswith('backbone.')}
        state, target = ({k: v for k, v in d.items() if k in kept} for d in (state, target))
    elif classifier and not cause:
        cause = description.classifier_misfit(state, target)
    return LoadReport(source, called, state, target, cause, recognised=recognised)


def _with_own_names(
    module: nn.Module,
    found: Found,
    source: str,
    called: str,
    prefix: str | None = None,
    beside: Mapping[str, nn.Module] = MappingProxyType({}),
) -> LoadReport:
    tensors = found.tensors
    if prefix is None:
        prefix = 'backbone.' if backbone_of(tensors) else ''
    _below(prefix, found, source)
    modules = {prefix: module}
    modules |= {at: part for at, part in beside.items() if any(k.startswith(at) for k in tensors)}
    target = {at + k: v for at, part in modules.items() for k, v in part.state_dict().items()}
    state = {key: value for key, value in tensors.items() if key.startswith(tuple(modules))}
    aside = [key for key in tensors if key not in state]
    cause = 'check that the file is of this very network'
    return LoadReport(source, called, state, target, cause, aside=aside, modules=modules)


_COMPARISONS = {
    'backbone': _with_backbone,
    'classifier': partial(compare_whole, classifier=True),
    'own': _with_own_names,
}


def is_classifier(state: Mapping[str, Tensor]) -> bool:
    """Whether a model's state dict is one of ``ImageClassifier``: a backbone under a head."""
    top = {key for key in state if not key.startswith('backbone.')}
    return 'head.weight' in top and top <= _CLASSIFIER


def with_official_names(
    state: Mapping[str, Tensor], *, classifier: bool
) -> tuple[dict[str, Tensor], Recognised | None]:
    """A whole model's tensors, its ConvNeXt's officially named below ``backbone.``, and its family.

    A model that has none stays as it is, and nothing is dropped. A classifier may be of any family;
    of other models what is below ``backbone.`` alone is renamed.
    """
    inside = state if classifier else backbone_of(state)
    try:
        recognised = to_official(inside, 'the model')
    except CheckpointError:
        return dict(state), None
    named = recognised.state | recognised.unknown
    if classifier:
        top = _CLASSIFIER & recognised.state.keys()
        others = recognised.outside | {key: named.pop(key) for key in top}
    else:
        # Among the output norms of a whole model, norm3 is one of them even where it is alone.
        named = rename_norm(named, 'norm.', 'norm3.') | recognised.outside
        others = {key: value for key, value in state.items() if not key.startswith('backbone.')}
    named |= recognised.aside
    return others | {f'backbone.{key}': value for key, value in named.items()}, recognised


def _below(prefix: str, found: Found, source: str) -> dict[str, Tensor]:
    """The tensors below a prefix, by their names there."""
    below = {k[len(prefix) :]: v for k, v in found.tensors.items() if k.startswith(prefix)}
    if not below:
        raise CheckpointError(
            f'{source}: expected keys that begin with {prefix!r}, found '
            f'{", ".join(list(found.tensors)[:3])}, …'
        )
    return below


def _in_shape(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: fit_shape(v, target[k].shape) if k in target else v for k, v in state.items()}


def _origin(recognised: Recognised, place: str) -> str:
    """Family, and where in the file its keys stand."""
    whole = description.describe_whole(recognised.outside)
    prefix = f'{recognised.prefix!r} of {whole}' if whole else repr(recognised.prefix)
    places = [repr(place)] * bool(place) + [prefix] * bool(recognised.prefix)
    return ', '.join([recognised.format.name, *places])


def _adapted(stem: Tensor, channels: int, policy: str) -> Tensor:
    """A stem's weight, (C, c, 4, 4), for another number of channels."""
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


def _tell(problem: str, keys: Sequence[str], shown: int = 5) -> str:
    more = f', … ({len(keys) - shown} more)' if len(keys) > shown else ''
    return f'{len(keys)} {problem}: {", ".join(keys[:shown])}{more}'
