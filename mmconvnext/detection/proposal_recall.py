"""Recall of boxes of any class: mmdet's ``proposal_fast``."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from mmdet.evaluation import bbox_overlaps

NO_BOXES = np.zeros((0, 4), np.float32)


def boxes_to_find(annotations: Iterable[Mapping]) -> np.ndarray:
    """Return corners, (N, 4) in pixels, of COCO annotations, without crowds and ignored boxes."""
    given = [
        annotation['bbox']
        for annotation in annotations
        if not (annotation.get('ignore') or annotation.get('iscrowd'))
    ]
    boxes = np.array(given, dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)


def mean_recalls(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    proposal_nums: Sequence[int],
    iou_thrs: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Return the recall, averaged over IoU thresholds, for each number of proposals.

    Without ground truth it is -1. mmdet's ``eval_recalls`` gives the same numbers, but fails from
    numpy 1.24 if images have different numbers of boxes. ``pairs`` has, for each image, the boxes
    to find, (N, 4), and the proposals, (K, 4) or more columns, by descending score; corners in
    pixels.
    """
    overlaps = [bbox_overlaps(truth, proposals[:, :4]) for truth, proposals in pairs]
    recalls = []
    for number in proposal_nums:
        of_images = [_matched_overlaps(overlap[:, :number]) for overlap in overlaps]
        matched = np.concatenate([np.zeros(0), *of_images])
        reached = matched >= np.asarray(iou_thrs)[:, np.newaxis]
        recalls.append(reached.mean() if matched.size else -1.0)
    return np.array(recalls)


def _matched_overlaps(overlaps: np.ndarray) -> np.ndarray:
    """Return each true box's IoU, (N,) from (N, proposals), matching the best pairs first."""
    overlaps, matched = overlaps.copy(), np.zeros(len(overlaps))
    for place in range(min(overlaps.shape)):
        truth, proposal = np.unravel_index(overlaps.argmax(), overlaps.shape)
        matched[place] = overlaps[truth, proposal]
        overlaps[truth] = overlaps[:, proposal] = -1
    return matched
