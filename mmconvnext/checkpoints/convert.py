"""From any family's names and shapes to the official ones, and back."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from mmconvnext.checkpoints.formats import FORMATS, SIZES, Format, key_map
from mmconvnext.errors import CheckpointError

# More blocks than a stage of any published ConvNeXt has (OpenCLIP's xxlarge: 30).
_DEEPEST = (64, 64, 64, 64)

_CLASSIFIER = ('norm.', 'head.')


class Recognised(NamedTuple):
    """The family of a state dict, what stands before its keys, and its tensors officially named."""

    format: Format
    prefix: str
    state: dict[str, Tensor]
    unknown: dict[str, Tensor]  # below the prefix, and nothing that the family has
    outside: list[str]  # keys that do not begin with the prefix: heads of a whole model
    duplicated: bool  # whether tensors stand twice in it, as DINOv3's last norm does


def to_official(
    state: Mapping[str, Tensor], source: str, formats: Sequence[Format] = FORMATS
) -> Recognised:
    """Recognise a family by its keys and rename it.

    Args:
        state: Tensors by the family's names. FCMAE's sparse layout is made dense first.
        source: What a message calls the file.
        formats: The families it may be of.

    Raises:
        CheckpointError: the keys are of no family.
    """
    state = _numbered_norms(_dense(state))
    candidates = [
        _rename(state, format, prefix) for format in formats for prefix in format.prefixes
    ]
    best = max(candidates, key=lambda candidate: len(candidate.state))
    if 'downsample_layers.0.0.weight' not in best.state:
        raise CheckpointError(
            f'{source}: expected the keys of a ConvNeXt of one of the families '
            f'{", ".join(format.name for format in formats)}; found '
            f'{", ".join(list(state)[:3])}, …{_resemblance(state)}'
        )
    return _classifier_norm(best)


def with_official_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole model's tensors, its ConvNeXt's officially named wherever they come from.

    Everything outside of ``backbone.`` stays as it is, and so does a backbone of another kind.
    """
    inside = {
        key.removeprefix('backbone.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    try:
        recognised = to_official(inside, 'the backbone')
    except CheckpointError:
        return dict(state)
    # Among the output norms of a whole model, norm3 is one of them even where it is alone.
    named = {
        key.replace('norm.', 'norm3.', 1) if key.startswith('norm.') else key: value
        for key, value in (recognised.state | recognised.unknown).items()
    }
    outside = {key: value for key, value in state.items() if not key.startswith('backbone.')}
    return {f'backbone.{key}': value for key, value in named.items()} | outside


def from_official(state: Mapping[str, Tensor], format: Format) -> dict[str, Tensor]:
    """Officially named tensors by a family's names, in its shapes.

    A state dict with a head is written as the family writes classifiers, prefixes included.

    Raises:
        CheckpointError: the family has no place for a tensor.
    """
    names = {official: theirs for theirs, official in key_map(format, _DEEPEST).items()}
    missing = [key for key in state if key not in names]
    if missing:
        raise CheckpointError(
            f'{format.name} has no place for {len(missing)} tensors: {", ".join(missing[:5])}'
        )
    is_v2 = any('.grn.' in key for key in state)
    prefix = format.classifier_prefix[is_v2] if 'head.weight' in state else ''
    converted = {}
    for key, value in state.items():
        shape = format.shapes.get(_vector_part(key))
        name = names[key] if key.startswith('head.') else prefix + names[key]
        if format.name == 'mmpretrain' and key.startswith('norm.'):
            name = name.replace('norm.', 'norm3.')  # see _classifier_norm
        converted[name] = value if shape is None else value.reshape(shape)
    return converted


def _vector_part(key: str) -> str | None:
    for ending in ('grn.gamma', 'grn.beta', 'gamma'):
        if key.endswith(f'.{ending}'):
            return ending.replace('.', '_')
    return None


def fit_shape(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape a tensor whose dimensions differ from ``shape`` by ones alone.

    So differ a linear layer and a 1×1 convolution, (C,) and (C, 1, 1) layer scales, and GRN's
    (4C,) and (1, 1, 1, 4C).
    """
    theirs, ours = ([n for n in dims if n != 1] for dims in (value.shape, shape))
    return value.reshape(tuple(shape)) if theirs == ours else value


def describe_size(state: Mapping[str, Tensor]) -> str:
    """Depths and channels that officially named tensors speak of, in a few words."""
    depths, channels = [], []
    for stage in range(4):
        blocks = {key.split('.')[2] for key in state if key.startswith(f'stages.{stage}.')}
        width = state.get(f'stages.{stage}.0.dwconv.weight')
        depths.append(str(len(blocks)))
        channels.append('?' if width is None else str(width.shape[0]))
    grn = ', GRN' if any('.grn.' in key for key in state) else ''
    name = SIZES.get(('-'.join(depths), channels[0]))
    name = f'{name}: ' if name else ''
    return f'{name}depths {"-".join(depths)}, channels {"-".join(channels)}{grn}'


def _rename(state: Mapping[str, Tensor], format: Format, prefix: str) -> Recognised:
    names = key_map(format, _DEEPEST)
    renamed, unknown, outside, duplicated = {}, {}, [], False
    for key, value in state.items():
        inside = key.startswith(prefix)
        name = key[len(prefix) :] if inside else key
        # A classifier's last norm and head stand outside of its backbone's prefix.
        if name in names and (inside or names[name].startswith(_CLASSIFIER)):
            renamed[names[name]] = value
        elif not inside:
            outside.append(key)
        elif name in format.duplicates:
            duplicated = True
        else:
            unknown[name] = value
    return Recognised(format, prefix, renamed, unknown, outside, duplicated)


def _classifier_norm(recognised: Recognised) -> Recognised:
    # mmpretrain calls a classifier's final norm `norm3`; only beside norm0–2 is it the fourth
    # stage's output norm.
    state = recognised.state
    alone = 'norm3.weight' in state and not any(f'norm{i}.weight' in state for i in range(3))
    if recognised.format.name != 'mmpretrain' or not alone:
        return recognised
    renamed = {
        key.replace('norm3.', 'norm.', 1) if key.startswith('norm3.') else key: value
        for key, value in state.items()
    }
    return recognised._replace(state=renamed)


def _dense(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """FCMAE's sparse layout in the dense names and shapes; anything else as it is.

    A depthwise kernel is (k², C), x before y; norms and linear layers have an infix; biases are
    (1, C). Source: facebookresearch/ConvNeXt-V2, utils.py, ``remap_checkpoint_keys``.
    """
    if not any(key.endswith('.kernel') for key in state):
        return state
    dense = {}
    for key, value in state.items():
        if key.startswith(('decoder', 'proj.', 'pred.', 'mask_token')):
            continue  # of the pre-training alone
        if key.endswith('.kernel'):
            size = math.isqrt(value.shape[0])
            value = value.T.reshape(-1, 1, size, size).transpose(2, 3)
            key = key.replace('.kernel', '.weight')
        elif key.endswith('.bias'):
            value = value.flatten()
        dense[key.replace('.ln.', '.').replace('.linear.', '.')] = value
    return dense


def _numbered_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Older transformers files number the output norms from 0 instead of naming their stages.
    return {
        re.sub(r'hidden_states_norms\.(\d)\.', _stage_name, key): value
        for key, value in state.items()
    }


def _stage_name(match: re.Match) -> str:
    return f'hidden_states_norms.stage{int(match[1]) + 1}.'


def _resemblance(state: Mapping[str, Tensor]) -> str:
    hints = {'attn.relative_position_bias_table': 'Swin', 'attn.qkv': 'a ViT', 'bn1.': 'a ResNet'}
    for piece, name in hints.items():
        if any(piece in key for key in state):
            return f' (these look like {name})'
    return ''
