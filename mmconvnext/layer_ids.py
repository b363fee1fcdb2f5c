"""Layer ids of a ConvNeXt's parameters, for layer-wise learning-rate decay.

``name`` is a parameter's name in the backbone. Parameters outside all layers, such as output norms,
have the last id, like the heads. For a table of the ids see
:class:`~mmconvnext.optim.layer_decay.LayerDecayOptimWrapperConstructor`.

Sources: facebookresearch/ConvNeXt @048efce,
object_detection/mmcv_custom/layer_decay_optimizer_constructor.py, the same numbers as
``LearningRateDecayOptimizerConstructor`` of mmdet 3.3.0 and mmseg 1.2.2; block_wise:
facebookresearch/ConvNeXt-V2 @2553895, optim_factory.py, where it is called "single".
"""

from collections.abc import Sequence


def suited_layers(depths: Sequence[int]) -> int:
    """Return N for these depths: 12 if the third stage has more than 9 blocks, else 6."""
    return 12 if depths[2] > 9 else 6


def layer_wise(name: str, layers: int) -> int:
    """Return an id from 0 to ``layers`` + 1; every three blocks of the third stage share an id."""
    part, numbers = _parse(name)
    if part == 'downsample_layers':
        return (0, 2, 3, layers)[numbers[0]]
    if part == 'stages':
        return (1, 2, 3 + numbers[1] // 3, layers)[numbers[0]]
    return layers + 1


def stage_wise(name: str, layers: int) -> int:
    """Return an id from 0 to 4, or ``layers`` + 1; each stage has one id."""
    part, numbers = _parse(name)
    if part == 'downsample_layers':
        return 0
    return numbers[0] + 1 if part == 'stages' else layers + 1


def block_wise(name: str, depths: Sequence[int]) -> int:
    """Return an id from 1 to the number of blocks + 1; each block has one id."""
    part, numbers = _parse(name)
    if part not in ('downsample_layers', 'stages'):
        return sum(depths) + 1
    block = numbers[1] if part == 'stages' else 0
    return sum(depths[: numbers[0]]) + block + 1


def _parse(name: str) -> tuple[str, list[int]]:
    part, *rest = name.split('.')
    return part, [int(piece) for piece in rest if piece.isdigit()]
