"""Convert names and shapes of any family's tensors to the official ones, and back."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mmconvnext.checkpoints.description import STEM, describe_whole, resemblance, size_name
from mmconvnext.checkpoints.formats import FORMATS, Format, key_map
from mmconvnext.errors import CheckpointError

# More blocks than a stage of any published ConvNeXt has (OpenCLIP's xxlarge: 30).
_DEEPEST = (64, 64, 64, 64)

_CLASSIFIER = ('norm.', 'head.')

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Parts whose shape differs between families, by the end of their official name.
_VECTORS = {'.grn.gamma': 'grn_gamma', '.grn.beta': 'grn_beta', '.gamma': 'gamma'}


class Recognised(NamedTuple):
    """The family of a state dict, the prefix of its keys, and its tensors officially named."""

    format: Format
    prefix: str
    state: dict[str, Tensor]
    unknown: dict[str, Tensor]  # below the prefix, but not known in the family
    outside: dict[str, Tensor]  # not below the prefix: heads of a whole model
    aside: dict[str, Tensor]  # below the prefix, known in the family, not used in a backbone

    def without(self, keys: Iterable[str]) -> Self:
        """Return a copy with these tensors moved to ``aside``."""
        aside = {key: self.state[key] for key in keys}
        state = {key: value for key, value in self.state.items() if key not in aside}
        return self._replace(state=state, aside=self.aside | aside)


def to_official(
    state: Mapping[str, Tensor], source: str, formats: Sequence[Format] = FORMATS
) -> Recognised:
    """Recognise the family, one of ``formats``, by its keys under any prefix, and rename them.

    FCMAE's sparse layout is made dense first. ``source`` is the file's name in messages.

    Raises:
        CheckpointError: the keys belong to no family, there are several ConvNeXts, or tensors are
            not dense floating-point tensors.
    """
    state = _dense(state)
    best: dict[str, Recognised] = {}  # by prefix
    for format in formats:
        for prefix in _prefixes(state, format):
            candidate = _rename(state, format, prefix)
            if prefix not in best or len(candidate.state) > len(best[prefix].state):
                best[prefix] = candidate
    found = [one for one in best.values() if 'stages.0.0.dwconv.weight' in one.state]
    if not found:
        raise CheckpointError(
            f'{source}: expected the keys of a ConvNeXt of one of the families '
            f'{", ".join(format.name for format in formats)}; found '
            f'{", ".join(list(state)[:3])}, …{resemblance(state)}'
        )
    if len(found) > 1:
        raise CheckpointError(
            f'{source}: expected one ConvNeXt, found {len(found)}, below '
            f'{", ".join(repr(one.prefix) for one in found)}; choose one '
            "(init_cfg: prefix='…')"
        )
    _require_plain(found[0].state, source)
    return _without_mlp_head(_classifier_norm(found[0]))


def from_official(state: Mapping[str, Tensor], format: Format) -> dict[str, Tensor]:
    """Return officially named tensors under a family's names, in its shapes.

    A state dict with a head gets the names of the family's classifiers, with their prefixes.

    Raises:
        CheckpointError: the family has no name for a tensor.
    """
    names = {official: theirs for theirs, official in key_map(format, _DEEPEST).items()}
    if missing := [key for key in state if key not in names]:
        raise CheckpointError(
            f'{format.name} has no place for {len(missing)} tensors: {", ".join(missing[:5])}'
        )
    if format.norm_is_norm3 and {'norm.weight', 'norm3.weight'} <= state.keys():
        raise CheckpointError(
            f'{format.name} has one name for norm and norm3: expected one of them, found both; '
            'convert a classifier or a dense backbone, not a mixture'
        )
    is_v2 = any('.grn.' in key for key in state)
    prefix = format.classifier_prefix[is_v2] if 'head.weight' in state else ''
    convolutional = size_name(state) in format.convolutional
    converted = {}
    for key, value in state.items():
        name = names[key] if key.startswith('head.') else prefix + names[key]
        if not key.startswith(_CLASSIFIER):
            name = format.body_prefix + name
        elif format.norm_is_norm3:
            name = name.replace('norm.', 'norm3.')
        converted[name] = fit_shape(value, _shape(key, value, format, convolutional))
    return converted


def _shape(key: str, value: Tensor, format: Format, convolutional: bool) -> tuple[int, ...]:
    """Return the shape that a family gives to an officially named tensor."""
    if '.pwconv' in key and key.endswith('.weight'):
        return (*value.shape[:2], 1, 1) if convolutional else tuple(value.shape[:2])
    for ending, part in _VECTORS.items():
        if key.endswith(ending):
            return tuple(value.numel() if n == -1 else n for n in format.shapes[part])
    return tuple(value.shape)


def fit_shape(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape a tensor whose shape differs from ``shape`` only by dimensions of one.

    Examples: a linear layer and a 1×1 convolution, layer scales (C,) and (C, 1, 1), and GRN's
    (4C,) and (1, 1, 1, 4C).
    """
    theirs, ours = ([n for n in dims if n != 1] for dims in (value.shape, shape))
    return value.reshape(tuple(shape)) if theirs == ours else value


def _prefixes(state: Mapping[str, Tensor], format: Format) -> list[str]:
    """Return the prefixes of the family's keys: one for each stem in the file."""
    prefixes = []
    for templates in (format.parts, format.aliases):
        stem = templates.get('stem_conv', '\0').format(p='weight')
        prefixes += [key.removesuffix(stem) for key in state if key.endswith(stem)]
    return [prefix for prefix in prefixes if not prefix or prefix.endswith('.')]


def _rename(state: Mapping[str, Tensor], format: Format, prefix: str) -> Recognised:
    names = key_map(format, _DEEPEST)
    renamed, unknown, outside, aside = {}, {}, {}, {}
    for key, value in state.items():
        inside = key.startswith(prefix)
        name = key[len(prefix) :] if inside else key
        # A classifier's last norm and head are outside its backbone's prefix.
        official = names.get(name, name)
        known = name in names and (inside or official.startswith(_CLASSIFIER))
        if known and official not in renamed:
            renamed[official] = value
        elif not inside:
            outside[key] = value
        elif name.startswith(format.aside):
            aside[name] = value
        else:
            unknown[name] = value
    return Recognised(format, prefix, renamed, unknown, outside, aside)


def _classifier_norm(recognised: Recognised) -> Recognised:
    # mmpretrain's norm3 is the fourth stage's output norm if the file has norm0–2 or the heads of a
    # dense model; otherwise it is a classifier's last norm.
    state = recognised.state
    alone = 'norm3.weight' in state and not any(f'norm{i}.weight' in state for i in range(3))
    dense = describe_whole(recognised.outside)
    if not recognised.format.norm_is_norm3 or not alone or dense:
        return recognised
    return recognised._replace(state=rename_norm(state, 'norm3.', 'norm.'))


def rename_norm(state: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """Return officially named tensors, with the norm ``old`` renamed to ``new``."""
    return {
        new + key.removeprefix(old) if key.startswith(old) else key: value
        for key, value in state.items()
    }


def _without_mlp_head(recognised: Recognised) -> Recognised:
    # The head of timm's convnext_large_mlp is useless without its hidden layer, which no other
    # family has.
    if not any(key.startswith('head.pre_logits.') for key in recognised.aside):
        return recognised
    return recognised.without(key for key in recognised.state if key.startswith('head.'))


def _dense(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return FCMAE's sparse layout in the dense names and shapes; other layouts unchanged.

    A depthwise kernel is (k², C), any other kernel (k², in, out), x before y in both; names of
    norms and linear layers have an infix; biases are (1, C). Source: facebookresearch/ConvNeXt-V2,
    utils.py, ``remap_checkpoint_keys``.
    """
    if not any(key.endswith('.kernel') for key in state):
        return state
    dense = {}
    for key, value in state.items():
        if key.endswith('.kernel'):
            value = _dense_kernel(value)
            key = key.replace('.kernel', '.weight')
        elif key.endswith('.bias'):
            value = value.flatten()
        dense[key.replace('.ln.', '.').replace('.linear.', '.')] = value
    return dense


def _dense_kernel(value: Tensor) -> Tensor:
    size = math.isqrt(len(value)) if value.ndim in (2, 3) else 0
    if not size or size**2 != len(value) or value.layout != torch.strided:
        return value  # an unknown layout: the check of shapes reports it
    weight = value.T[:, None] if value.ndim == 2 else value.permute(2, 1, 0)
    return weight.reshape(*weight.shape[:2], size, size).transpose(2, 3)


def _require_plain(state: Mapping[str, Tensor], source: str) -> None:
    strange = [
        f'{key} ({value.dtype}, {value.layout}, {tuple(value.shape)})'
        for key, value in state.items()
        if value.layout != torch.strided
        or value.dtype not in _DTYPES
        or not value.numel()
        or (value.ndim != 4 and key.endswith(('dwconv.weight', STEM)))
    ]
    if strange:
        raise CheckpointError(
            f'{source}: expected dense float16, bfloat16, float32 or float64 tensors, found '
            f'{strange[0]} and {len(strange) - 1} more; convert them where they were made'
        )
