"""Check that officially named tensors make up a complete backbone."""

from collections.abc import Mapping

from torch import Tensor

from mmconvnext.checkpoints.convert import fit_shape
from mmconvnext.checkpoints.description import STEM, describe_size, dimensions
from mmconvnext.errors import CheckpointError


def require_complete(state: Mapping[str, Tensor], source: str) -> None:
    """Check that officially named tensors make up a complete backbone, by name and shape.

    Raises:
        CheckpointError: tensors are missing or have another shape; the message names them.
    """
    depths, channels = dimensions(state)
    if 0 in depths or 0 in channels:
        raise CheckpointError(f'{source}: expected four stages, found {describe_size(state)}')
    expected = _expected_shapes(state, depths, channels)
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
    """Return names and shapes of a complete backbone, with the optional parts of ``state``."""
    shapes = _layer('downsample_layers.0.0', channels[0], state[STEM].shape[1], 4, 4)
    shapes |= _layer('downsample_layers.0.1', channels[0])
    for i, width in enumerate(channels):
        if i:
            shapes |= _layer(f'downsample_layers.{i}.0', channels[i - 1])
            shapes |= _layer(f'downsample_layers.{i}.1', width, channels[i - 1], 2, 2)
        for block in (f'stages.{i}.{j}' for j in range(depths[i])):
            shapes |= _layer(f'{block}.dwconv', width, 1, 7, 7) | _layer(f'{block}.norm', width)
            shapes |= _layer(f'{block}.pwconv1', 4 * width, width)
            shapes |= _layer(f'{block}.pwconv2', width, 4 * width)
            if 'stages.0.0.gamma' in state:
                shapes[f'{block}.gamma'] = (width,)
            if any('.grn.' in key for key in state):
                shapes |= {f'{block}.grn.gamma': (4 * width,), f'{block}.grn.beta': (4 * width,)}
    optional = {'norm': channels[3], **{f'norm{i}': width for i, width in enumerate(channels)}}
    for name, width in optional.items():
        if any(key.startswith(f'{name}.') for key in state):
            shapes |= _layer(name, width)
    if any(key.startswith('head.') for key in state):
        classes = state['head.weight'].shape[0] if 'head.weight' in state else 0
        shapes |= _layer('head', classes, channels[3])
    return shapes


def _layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': weight, f'{name}.bias': weight[:1]}
