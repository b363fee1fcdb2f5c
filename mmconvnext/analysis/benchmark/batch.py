"""Generate images with labels, packed by mmseg's or mmdet's own transforms.

The transforms are built by name, so that neither package is imported here.
"""

from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS
from torch import nn

INSTANCES = 12


def packed_images(model: Any, size: tuple[int, int], batch: int) -> dict[str, list[Any]]:
    """Return ``inputs``, 3×H×W uint8, and ``data_samples`` of images of a size (height, width).

    The current scope must be the model's. For a segmentor each pixel has a random class; for a
    detector each image has a dozen boxes with masks.
    """
    random = np.random.default_rng(0)
    make = _with_instances if hasattr(model, 'roi_head') else _with_classes
    packed = [make(model, size, random) for _ in range(batch)]
    return {key: [one[key] for one in packed] for key in packed[0]}


def box_heads(model: Any) -> list[Any]:
    """Return the box heads: several in a cascade, else one."""
    heads = model.roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def _image(size: tuple[int, int], random: np.random.Generator) -> dict[str, Any]:
    return {
        'img': random.integers(0, 256, (*size, 3), dtype=np.uint8),
        **dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), size),
        'scale_factor': (1.0, 1.0),
    }


def _with_classes(model: Any, size: tuple[int, int], random: np.random.Generator) -> Any:
    labels = random.integers(0, model.num_classes, size, dtype=np.uint8)
    pack = TRANSFORMS.build(dict(type='PackSegInputs'))
    return pack(_image(size, random) | {'gt_seg_map': labels})


def _with_instances(model: Any, size: tuple[int, int], random: np.random.Generator) -> Any:
    load = TRANSFORMS.build(dict(type='LoadAnnotations', with_bbox=True, with_mask=True))
    pack = TRANSFORMS.build(dict(type='PackDetInputs'))
    classes = box_heads(model)[0].num_classes
    instances = [_instance(size, classes, random) for _ in range(INSTANCES)]
    packed = pack(load(_image(size, random) | {'instances': instances}))
    truth = packed['data_samples'].gt_instances
    truth.bboxes = truth.bboxes.tensor  # as from a data preprocessor
    return packed


def _instance(size: tuple[int, int], classes: int, random: np.random.Generator) -> dict[str, Any]:
    """Return a box with a diamond-shaped mask in it."""
    height, width = size
    left, top = random.uniform(0, 0.6, 2) * (width, height)
    right, bottom = (left, top) + random.uniform(0.1, 0.4, 2) * (width, height)
    x, y = (left + right) / 2, (top + bottom) / 2
    return {
        'bbox': [left, top, right, bottom],
        'bbox_label': int(random.integers(classes)),
        'mask': [[left, y, x, top, right, y, x, bottom]],
        'ignore_flag': 0,
    }
