"""Find the image sizes in a config: the test size, for which costs are given, and the crop."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmconvnext.config_types import pipeline_steps, type_name
from mmconvnext.errors import UserError

# The paper's detectors are tested at 1333 × 800, and counted at 1280 × 800.
COCO_SCALE, COCO_SHAPE = (800, 1333), (800, 1280)

# A classifier's transforms, which resize to squares.
_CROPS = ('EvaluationCrop', 'RandomResizedCrop')


def counted_shape(config: Config) -> tuple[int, int]:
    """Return the height and width in pixels at which the papers count, landscape.

    This is the test scale, such as 512 × 2048 for ADE20K, or 800 × 1280 for COCO. Without a resize
    in the test pipeline it is the training crop. Raises UserError if the config has no size.
    """
    shape = next(_shapes(config, 'test'), None) or training_shape(config)
    return COCO_SHAPE if shape == COCO_SCALE else shape


def training_shape(config: Config) -> tuple[int, int]:
    """Return the height and width in pixels of the largest training image, padding included.

    With several scales this is the largest one, landscape, like most images. If the training
    pipeline does not change sizes, it is the test scale. Raises UserError if the config has no
    size.
    """
    preprocessor = config.model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    if _is_pair(preprocessor.get('size')):
        return tuple(preprocessor['size'])
    shapes = [*_shapes(config, 'train')][-1:] or [*_shapes(config, 'test')]
    if not shapes:
        raise UserError(
            'size of the images: expected a resize or a crop in the pipelines of the config, or '
            'a size of its data_preprocessor, found none; give --shape HEIGHT WIDTH'
        )
    divisor = preprocessor.get('pad_size_divisor', 1)
    height, width = (-(-side // divisor) * divisor for side in shapes[0])
    return height, width


def _shapes(config: Config, split: str) -> Iterator[tuple[int, int]]:
    """Yield the sizes that the transforms of a pipeline make, in order."""
    dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']  # RepeatDataset and the like
    steps = pipeline_steps(dataset.get('pipeline') or [])
    yield from filter(None, map(_shape_after, steps))


def _shape_after(step: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the largest height and width that a transform makes, or None if unknown."""
    if type_name(step) in _CROPS and isinstance(step.get('size'), int):
        return step['size'], step['size']
    if _is_pair(step.get('crop_size')):
        return tuple(step['crop_size'])
    for key in ('scales', 'scale', 'img_scale'):
        value: Any = step.get(key)
        pairs: list[Any] = [value] if _is_pair(value) else [*filter(_is_pair, _listed(value))]
        if pairs:
            height, width = sorted(max(pairs, key=math.prod))
            return height, width
    return None


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _is_pair(value: object) -> bool:
    numbers = _listed(value)
    return len(numbers) == 2 and all(isinstance(number, int | float) for number in numbers)
