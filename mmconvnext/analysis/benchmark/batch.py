"""Generated pictures with labels, packed by mmseg's or mmdet's own transforms.

Those are named for the registry, so that neither is imported here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS
from torch import Tensor, nn

INSTANCES = 12


def packed_pictures(model: Any, size: tuple[int, int], batch: int) -> dict[str, list[Any]]:
    """The ``inputs``, 3×H×W uint8, and the ``data_samples`` of pictures of a size (height, width).

    The current scope is the model's. Each pixel of a segmentor's picture has a class at random;
    a detector's picture has a dozen boxes with masks.
    """
    random = np.random.default_rng(0)
    make = _detection if hasattr(model, 'roi_head') else _segmentation
    packed = [make(model, size, random) for _ in range(batch)]
    return {key: [one[key] for one in packed] for key in packed[0]}


def generated_batch(
    model: Any, size: tuple[int, int], batch: int, device: str
) -> tuple[Tensor, list]:
    """:func:`packed_pictures` as the model on ``device`` gets them, N×3×H×W float32 first."""
    data = packed_pictures(model, size, batch)
    # Without training no label map is padded: pictures of one size need not be.
    ready = model.data_preprocessor(data, training=model.training)
    samples = [sample.to(device) for sample in ready['data_samples']]
    return ready['inputs'].to(device), samples


def box_heads(model: Any) -> list[Any]:
    """A cascade's, or the one there is."""
    heads = model.roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def _segmentation(
    model: Any, size: tuple[int, int], random: np.random.Generator
) -> Mapping[str, object]:
    labels = random.integers(0, model.num_classes, size, dtype=np.uint8)
    pack = TRANSFORMS.build(dict(type='PackSegInputs'))
    return pack(_picture(size, random) | {'gt_seg_map': labels})


def _detection(
    model: Any, size: tuple[int, int], random: np.random.Generator
) -> Mapping[str, object]:
    load = TRANSFORMS.build(dict(type='LoadAnnotations', with_bbox=True, with_mask=True))
    pack = TRANSFORMS.build(dict(type='PackDetInputs'))
    classes = box_heads(model)[0].num_classes
    instances = [_instance(size, classes, random) for _ in range(INSTANCES)]
    packed = pack(load(_picture(size, random) | {'instances': instances}))
    truth = packed['data_samples'].gt_instances
    truth.bboxes = truth.bboxes.tensor  # as a data preprocessor would give them
    return packed


def _picture(size: tuple[int, int], random: np.random.Generator) -> dict[str, object]:
    return {
        'img': random.integers(0, 256, (*size, 3), dtype=np.uint8),
        'img_path': 'generated',
        'img_id': 0,
        **dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), size),
        'scale_factor': (1.0, 1.0),
    }


def _instance(
    size: tuple[int, int], classes: int, random: np.random.Generator
) -> dict[str, object]:
    height, width = size
    left, top = random.uniform(0, 0.6, 2) * (width, height)
    right, bottom = (left, top) + random.uniform(0.1, 0.4, 2) * (width, height)
    diamond = [left, (top + bottom) / 2, (left + right) / 2, top]
    diamond += [right, (top + bottom) / 2, (left + right) / 2, bottom]
    return {
        'bbox': [left, top, right, bottom],
        'bbox_label': int(random.integers(classes)),
        'mask': [diamond],
        'ignore_flag': 0,
    }
