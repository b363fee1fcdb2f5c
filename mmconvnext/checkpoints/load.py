"""Strict loading of a backbone's weights, with a report.

mmengine's own ``Pretrained`` initialisation loads with ``strict=False`` and knows no ``model``
wrapper, so that an official ConvNeXt file loads nothing there and training starts from noise.
Here every tensor is accounted for or the load raises.
"""

import functools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmconvnext.checkpoints.convert import (
    Recognised,
    describe_size,
    describe_whole,
    fit_shape,
    size_name,
    to_official,
)
from mmconvnext.checkpoints.read import find_tensors, read_checkpoint
from mmconvnext.errors import ArgumentError, CheckpointError

# Weights, counters of batches and masks.
_READABLE = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)
_STEM = 'downsample_layers.0.0.weight'
_NORM3_POLICIES = ('fresh', 'from_classifier', 'from_file')
_PAIR = ('weight', 'bias')
_STEM_POLICIES = ('repeat', 'mean', 'zero_extra', 'random')


@dataclass
class LoadReport:
    """What a load did, by parameter name."""

    source: str
    family: str = ''  # and where in the file its keys stand
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # in the model only, and expected so
    unused: list[str] = field(default_factory=list)  # in the file only, and expected so
    size: str = ''
    checksum: str = ''  # CRC-32 of the loaded tensors, by name
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        new, unused = _modules(self.new), _modules(self.unused)
        return '; '.join(
            [
                f'Loaded {len(self.loaded)} tensors (CRC-32 {self.checksum}) from {self.source} '
                f'({self.family}; {self.size})',
                f'new: {new or "none"}',
                f'left aside: {unused or "none"}',
                *self.notes,
            ]
        )


def load_backbone(
    module: nn.Module,
    checkpoint: str,
    *,
    prefix: str | None = None,
    ema: bool = False,
    sha256: str | None = None,
    norm3: str = 'fresh',
    stem: str = 'repeat',
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> LoadReport:
    """Load a backbone's weights in place, every tensor accounted for.

    Args:
        module: The backbone.
        checkpoint: File or URL, of any family in :mod:`mmconvnext.checkpoints.formats`; of a
            whole model, its ``backbone`` is taken.
        prefix: What to take from the file, such as ``'backbone.'``; recognised where it is None.
        ema: Take the weights averaged over training.
        sha256: SHA-256 of the file, or its beginning.
        norm3: ``'fresh'`` leaves the output norm of the last stage new where the file has only a
            classifier's, as the official recipes do; ``'from_classifier'`` starts from that;
            ``'from_file'`` too, where the file has it.
        stem: How a stem for three channels serves another number of them: ``'repeat'`` takes
            them in turn and ``'mean'`` their mean, both scaled to keep the sum; ``'zero_extra'``
            adds zeros; ``'random'`` draws a new stem.
        new: Beginnings of the names that the file may lack; these parameters stay as they are.
        unused: Beginnings of the names that the module may lack.

    Raises:
        ArgumentError: ``norm3`` or ``stem`` is none of the above.
        CheckpointError: anything else is missing, unexpected, of another shape or not finite.
            The module is unchanged then.
    """
    _check_policy('norm3', norm3, _NORM3_POLICIES)
    _check_policy('stem', stem, _STEM_POLICIES)
    found = find_tensors(read_checkpoint(checkpoint, sha256=sha256), checkpoint, ema=ema)
    recognised = to_official(_with_prefix(found.tensors, prefix, checkpoint), checkpoint)
    target = module.state_dict()
    state, notes = _adapt(recognised, target, norm3, stem)
    require_fit(
        target,
        state,
        source=f'{checkpoint} ({_origin(recognised, found.place)}; {describe_size(state)})',
        target_name=f'this backbone ({describe_size(target)})',
        cause=likely_cause(state, target),
        new=new,
        unused=unused,
    )
    loaded = {key: value for key, value in state.items() if key in target}
    require_finite(loaded, checkpoint)
    report = LoadReport(
        source=str(checkpoint),
        family=_origin(recognised, found.place),
        size=describe_size(state),
        loaded=list(loaded),
        new=[key for key in target if key not in state],
        unused=[key for key in state if key not in target] + recognised.aside + recognised.outside,
        checksum=_checksum(loaded),
        notes=notes,
    )
    module.load_state_dict(loaded, strict=False)
    print_log(str(report), logger='current')
    announce_licence(recognised, str(checkpoint))
    return report


def _check_policy(option: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ArgumentError(f'init_cfg: expected {option} of {", ".join(known)}, got {given!r}')


def _adapt(
    recognised: Recognised, target: Mapping[str, Tensor], norm3: str, stem: str
) -> tuple[dict[str, Tensor], list[str]]:
    """A file's tensors in the shapes of ``target``, by the policies, and what is to be told."""
    notes = []
    state = {
        key: fit_shape(value, target[key].shape) if key in target else value
        for key, value in recognised.state.items()
    } | recognised.unknown
    wanted = norm3 == 'from_classifier' or (norm3 == 'from_file' and 'norm.weight' in state)
    if wanted and 'norm3.weight' in target:
        _take_classifier_norm(state)
    if state[_STEM].shape[1] != target[_STEM].shape[1]:
        notes.append(_adapt_stem(state, target[_STEM].shape[1], stem))
    if recognised.prefix.endswith('visual.trunk.'):
        notes.append(
            "CLIP's weights expect its own data_preprocessor: mean=[122.77, 116.75, 104.09], "
            'std=[68.50, 66.63, 70.32]'
        )
    return state, notes


def _take_classifier_norm(state: dict[str, Tensor]) -> None:
    if 'norm3.weight' in state:
        return  # of a dense backbone, which is better still
    if 'norm.weight' not in state:
        raise CheckpointError(
            "norm3='from_classifier': expected a file with a classifier's norm, found none; take "
            "norm3='fresh'"
        )
    state |= {f'norm3.{p}': state.pop(f'norm.{p}') for p in _PAIR if f'norm.{p}' in state}


def _origin(recognised: Recognised, place: str) -> str:
    """Family, and where in the file its keys stand."""
    whole = describe_whole(recognised.outside)
    prefix = f'{recognised.prefix!r} of {whole}' if whole else repr(recognised.prefix)
    places = [repr(place)] * bool(place) + [prefix] * bool(recognised.prefix)
    return ', '.join([recognised.format.name, *places])


def _adapt_stem(state: dict[str, Tensor], channels: int, policy: str) -> str:
    """Make the stem's weight, (C, c, 4, 4), serve another number of channels, in ``state``."""
    weight = state[_STEM]
    given = weight.shape[1]
    if policy == 'repeat':
        weight = weight[:, [i % given for i in range(channels)]] * (given / channels)
    elif policy == 'mean':
        weight = weight.mean(1, keepdim=True).repeat(1, channels, 1, 1) * (given / channels)
    elif policy == 'zero_extra':
        extra = weight.new_zeros(weight.shape[0], max(channels - given, 0), *weight.shape[2:])
        weight = torch.cat([weight[:, :channels], extra], 1)
    else:
        weight = weight.new_empty(weight.shape[0], channels, *weight.shape[2:])
        nn.init.trunc_normal_(weight, std=0.02)
    state[_STEM] = weight
    return f"stem of {given} channels adapted to {channels} by '{policy}' (init_cfg: stem=…)"


def announce_licence(recognised: Recognised, source: str) -> None:
    """Log, once in a process, what a family's published weights may not be used for."""
    if (
        recognised.format.name == 'hf-dinov3'
        or 'norms.3.weight' in recognised.aside
        or 'dinov3' in Path(source).name.lower()  # timm's copies have its ordinary keys
    ):
        _announce("DINOv3's published weights have a licence of their own")
    elif any('.grn.' in key for key in recognised.state):
        _announce("ConvNeXt V2's published weights are CC-BY-NC: not for commercial use")


@functools.cache
def _announce(notice: str) -> None:
    print_log(notice, logger='current')


def likely_cause(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    """What most often makes a backbone's file not fit, said of this one, or ''.

    Args:
        state: The file's tensors, officially named.
        target: The backbone's.
    """
    if _STEM not in state:
        return ''
    theirs, ours = size_name(state), size_name(target)
    if state[_STEM].shape[2:] != (4, 4):
        return "its stem's patches overlap (timm's _ols models), which is another network"
    if 'stages.0.0.norm.bias' not in state:
        return "its norms have no bias (timm's _rms models), which is another network"
    if theirs != ours and theirs:
        return f'this is the size {theirs}, the config says {ours or "another one"}'
    grn = ['.grn.' in ' '.join(keys) for keys in (state, target)]
    if grn[0] != grn[1]:
        return f'this is ConvNeXt V{1 + grn[0]}, the config says use_grn={grn[1]}'
    return ''


def require_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Check that a checkpoint holds numbers.

    Raises:
        CheckpointError: with the names of tensors that hold NaN, infinity or nothing that could
            be looked at.
    """
    require_readable(state, source)
    broken = [key for key, value in state.items() if not is_finite(value)]
    if broken:
        raise CheckpointError(
            f'{source}: expected finite numbers, found NaN or infinity in {len(broken)} tensors: '
            f'{", ".join(broken[:5])}; take another checkpoint of that run'
        )


def require_readable(state: Mapping[str, Tensor], source: str) -> None:
    """Check that tensors are dense and of the types that weights and counters have.

    Raises:
        CheckpointError: with the name and kind of one that is not, such as a sparse one.
    """
    for key, value in state.items():
        if value.is_meta or value.layout != torch.strided or value.dtype not in _READABLE:
            kind = 'without values' if value.is_meta else f'{value.dtype}, {value.layout}'
            raise CheckpointError(
                f'{source}: expected dense tensors of ordinary types, found {key} ({kind}); '
                'convert it where it was made'
            )


def is_finite(value: Tensor) -> bool:
    """Whether all elements of a real tensor are finite; no elements are."""
    # The extremes take no memory, unlike isfinite(); NaN makes both of them NaN.
    return not value.numel() or all(math.isfinite(x) for x in value.detach().aminmax())


def _checksum(state: Mapping[str, Tensor]) -> str:
    crc = 0
    for key in sorted(state):
        crc = zlib.crc32(state[key].contiguous().view(torch.uint8).numpy(), crc)
    return f'{crc:08x}'


def require_fit(
    target: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    source: str,
    target_name: str,
    cause: str = '',
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> None:
    """Check that ``state`` has what ``target`` has, by name and shape.

    Args:
        target: State dict of the module to load into.
        state: What is to be loaded.
        source: What the message calls ``state``.
        target_name: What it calls ``target``.
        cause: Why it may not fit, where the caller knows.
        new: Beginnings of the names that ``state`` may lack, each as a whole.
        unused: Beginnings of the names that ``target`` may lack.

    Raises:
        CheckpointError: with the names of everything that does not fit.
    """
    # A part that may be missing is missing as a whole.
    new = tuple(part for part in new if not any(key.startswith(part) for key in state))
    missing = [key for key in target if key not in state and not key.startswith(new)]
    unexpected = [key for key in state if key not in target and not key.startswith(tuple(unused))]
    reshaped = [
        f'{key} {tuple(state[key].shape)} for {tuple(target[key].shape)}'
        for key in state
        if key in target and state[key].shape != target[key].shape
    ]
    problems = {'missing': missing, 'unexpected': unexpected, 'of another shape': reshaped}
    if any(problems.values()):
        raise CheckpointError(
            f'{source} does not fit {target_name}: {_describe(problems)}; '
            + (cause or 'check that the config (size, use_grn, num_classes) is the one of the file')
        )


def _with_prefix(
    state: Mapping[str, Tensor], prefix: str | None, checkpoint: str
) -> Mapping[str, Tensor]:
    if prefix is None:
        return state
    part = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not part:
        raise CheckpointError(
            f'{checkpoint}: expected keys that begin with {prefix!r}, found '
            f'{", ".join(list(state)[:3])}, …'
        )
    return part


def _describe(problems: Mapping[str, list[str]], shown: int = 5) -> str:
    parts = []
    for problem, keys in problems.items():
        if keys:
            more = f', … ({len(keys) - shown} more)' if len(keys) > shown else ''
            parts.append(f'{len(keys)} {problem}: {", ".join(keys[:shown])}{more}')
    return '; '.join(parts)


def _modules(keys: Sequence[str]) -> str:
    return ', '.join(dict.fromkeys(key.split('.')[0] for key in keys))
