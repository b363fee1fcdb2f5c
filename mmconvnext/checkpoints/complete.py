"""Whether officially named tensors are a whole backbone."""

from collections.abc import Mapping

from torch import Tensor

from mmconvnext.checkpoints.convert import fit_shape
from mmconvnext.checkpoints.description import STEM, describe_size, dimensions
from mmconvnext.errors import CheckpointError


def require_complete(state: Mapping[str, Tensor], source: str) -> None:
    """Check that officially named tensors are a whole backbone, in their names and shapes.

    Raises:
        CheckpointError: with the names of what is missing or of another shape.
    """
    depths, channels = dimensions(state)
    if '0' in depths or '?' in channels:
        raise CheckpointError(f'{source}: expected four stages, found {describe_size(state)}')
    expected = _expected_shapes(state, [int(n) for n in depths], [int(n) for n in channels])
    wrong = [
        f'{key} {"missing" if key not in state else tuple(state[key].shape)}'
        for key, shape in expected.items()
        if key not in state or fit_shape(state[key], shape).shape != shape
    ]
    if wrong:
        raise CheckpointError(
            f'{source}: expected a whole {describe_size(state)}; {len(wrong)} tensors are missing '
            f'or of another shape: {", ".join(wrong[:5])}'
        )


def _expected_shapes(
    state: Mapping[str, Tensor], depths: list[int], channels: list[int]
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a whole backbone, and of the optional parts that ``state`` begins."""
    first = channels[0]
    inputs = state[STEM].shape[1]
    shapes = {
        STEM: (first, inputs, 4, 4),
        'downsample_layers.0.0.bias': (first,),
        **_pair('downsample_layers.0.1', first),
    }
    for i, width in enumerate(channels):
        if i:
            before = channels[i - 1]
            shapes |= _pair(f'downsample_layers.{i}.0', before)
            shapes[f'downsample_layers.{i}.1.weight'] = (width, before, 2, 2)
            shapes[f'downsample_layers.{i}.1.bias'] = (width,)
        for j in range(depths[i]):
            block = {
                'dwconv.weight': (width, 1, 7, 7),
                'dwconv.bias': (width,),
                **_pair('norm', width),
                'pwconv1.weight': (4 * width, width),
                'pwconv1.bias': (4 * width,),
                'pwconv2.weight': (width, 4 * width),
                'pwconv2.bias': (width,),
            }
            if 'stages.0.0.gamma' in state:
                block['gamma'] = (width,)
            if any('.grn.' in key for key in state):
                block |= {'grn.gamma': (4 * width,), 'grn.beta': (4 * width,)}
            shapes |= {f'stages.{i}.{j}.{key}': shape for key, shape in block.items()}
    optional = {'norm': channels[3], **{f'norm{i}': width for i, width in enumerate(channels)}}
    for name, width in optional.items():
        if any(key.startswith(f'{name}.') for key in state):
            shapes |= _pair(name, width)
    if any(key.startswith('head.') for key in state):
        classes = state['head.weight'].shape[0] if 'head.weight' in state else 0
        shapes |= {'head.weight': (classes, channels[3]), 'head.bias': (classes,)}
    return shapes


def _pair(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}
