"""Extract instances from mmdet's data samples, in pixels of the image file."""

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData

from mmconvnext.drawing.instances import Instances


def detections(sample: BaseDataElement, score_thr: float) -> Instances:
    """Return a sample's predictions with a score of at least ``score_thr``."""
    found = sample.pred_instances
    found = found[found.scores >= score_thr]
    masks = found.masks.cpu().numpy() if 'masks' in found else None
    return Instances(_boxes(found), found.labels.cpu().numpy(), found.scores.cpu().numpy(), masks)


def ground_truth(sample: BaseDataElement, shape: tuple[int, int], dataset: object) -> Instances:
    """Return a sample's ``gt_instances`` in pixels of the image file.

    ``shape`` is that image's height and width. Instances that were loaded before the resize are at
    the test scale: the size of the masks shows this, or, with boxes only, the order of steps in the
    dataset's pipeline.
    """
    true = sample.gt_instances
    masks = true.masks.to_ndarray().astype(bool) if 'masks' in true else None
    boxes = _boxes(true)
    rescaled = _annotated_first(dataset) if masks is None else masks.shape[1:] != shape
    if rescaled:
        across, down = sample.get('scale_factor', (1.0, 1.0))
        boxes = boxes / (across, down, across, down)
        if masks is not None:
            masks = _unscaled(masks, (across, down), shape)
    return Instances(boxes, true.labels.cpu().numpy(), masks=masks)


def _annotated_first(dataset: object) -> bool:
    """Return whether the dataset's pipeline loads annotations before it resizes images."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    names = [type(step).__name__ for step in steps]
    loaded = names.index('LoadAnnotations') if 'LoadAnnotations' in names else len(names)
    return any('Resize' in name for name in names[loaded:])


def _unscaled(masks: np.ndarray, scale: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Resize masks of the test scale, which may be padded, to the size of the image."""
    result = np.zeros((len(masks), *shape), bool)
    # Unlike cv2.resize, a warp ignores the padding.
    shrink = np.diag(scale).astype(float) @ np.eye(2, 3)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    for mask, target in zip(masks, result):
        target[:] = cv2.warpAffine(mask.astype(np.uint8), shrink, shape[::-1], flags=flags)
    return result


def _boxes(instances: InstanceData) -> np.ndarray:
    """Return (N, 4) boxes from a tensor or from mmdet's box type."""
    boxes = instances.bboxes
    return getattr(boxes, 'tensor', boxes).cpu().numpy().reshape(-1, 4)
