"""Greedy and soft non-maximum suppression in PyTorch, equal to mmcv's compiled operators.

Source of the rules, and of the order of equal scores: mmcv 2.1.0,
mmcv/ops/csrc/pytorch/cpu/nms.cpp.
"""

import numpy as np
import torch
from torch import Tensor

from mmconvnext.ops.sampling import accumulation_dtype

# Boxes decided together; later boxes are then compared with the kept ones. Extra memory: about ten
# float32 (BLOCK, boxes) matrices.
BLOCK = 128

# Maximal pairs of boxes with common columns, per box and in total, to compare pair by pair instead.
# There are few pairs if boxes are small or belong to many classes, which mmcv moves apart. Extra
# memory: about 64 bytes per pair.
_PAIRS_A_BOX = 128
_MOST_PAIRS = 1 << 20


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes kept, by descending score.

    A box, x1, y1, x2, y2, is dropped if its IoU with a kept box of a higher score is above
    ``iou_threshold``. ``offset`` is 1 if a box from x to x is one pixel wide, else 0.

    Shapes: (N, 4), (N,) → (kept,).
    """
    order = scores.sort(0, descending=True)[1]
    ranked = boxes[order].to(accumulation_dtype(boxes))  # areas overflow in 16 bits
    # With a threshold below 0, boxes without overlap suppress each other too.
    pairs = _pairs_that_share_columns(ranked, offset) if iou_threshold >= 0 else None
    if pairs is None:
        return order[_keep_by_blocks(ranked, iou_threshold, offset)]
    return order[_keep_by_pairs(ranked, pairs, iou_threshold, offset)]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Return the indices of the boxes left, in order of choice; scores are lowered, not removed.

    Args:
        boxes: (N, 4), on the CPU.
        scores: (N,).
        dets: (N, 5), on the CPU, written: the chosen boxes with their scores, in the first rows.
        iou_threshold: IoU above which methods 0 and 1 lower a score.
        sigma: Parameter of method 2.
        min_score: Boxes whose score falls below this value are dropped.
        method: The factor on a score: 0: 0; 1: 1 - IoU; 2: exp(-IoU² / sigma).
        offset: 1 if a box from x to x is one pixel wide, else 0.

    Source: Bodla et al., Soft-NMS (arXiv 1704.04503).
    """
    corners, current = boxes.float().numpy().copy(), scores.float().numpy().copy()
    left = np.arange(len(corners))
    chosen = 0
    while chosen < len(left):
        best = chosen + _first_greatest(current[left[chosen:]])
        left[[chosen, best]] = left[[best, chosen]]
        box, others = corners[left[chosen]], left[chosen + 1 :]
        current[others] *= _weights(box, corners[others], iou_threshold, sigma, method, offset)
        kept = _without(current[others] < np.float32(min_score))
        left = np.concatenate([left[: chosen + 1], others[kept]])
        chosen += 1
    dets[: len(left)] = torch.from_numpy(np.c_[corners[left], current[left]])
    return torch.from_numpy(left)


def _first_greatest(scores: np.ndarray) -> int:
    # As found by successive comparisons: nothing is greater than NaN, and NaN is not greater.
    return 0 if np.isnan(scores[0]) else int(np.nan_to_num(scores, nan=-np.inf).argmax())


def _weights(
    box: np.ndarray,
    others: np.ndarray,
    iou_threshold: float,
    sigma: float,
    method: int,
    offset: int,
) -> np.ndarray:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = (sides + np.float32(offset)).clip(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2] + np.float32(offset)).prod(1)
    area = (box[2:] - box[:2] + np.float32(offset)).prod()
    with np.errstate(invalid='ignore', divide='ignore'):
        iou = common / (area + areas - common)
    if method == 2:
        return np.exp(-(iou * iou) / np.float32(sigma))
    lowered = 1 - iou if method == 1 else np.zeros_like(iou)
    return np.where(iou >= np.float32(iou_threshold), lowered, np.float32(1))


def _without(dropped: np.ndarray) -> np.ndarray:
    """Return the order after each dropped element is replaced by the last one, as in mmcv."""
    count = int((~dropped).sum())
    order = np.arange(count)
    holes = dropped[:count].nonzero()[0]
    order[holes] = (count + (~dropped[count:]).nonzero()[0])[::-1]
    return order


def _pairs_that_share_columns(boxes: Tensor, offset: int) -> tuple[Tensor, Tensor] | None:
    """Return indices of both boxes of each pair that may overlap, or None for too many pairs."""
    count = len(boxes)
    left, right = boxes[:, 0].double(), boxes[:, 2].double() + offset
    left, by_left = left.sort()
    following = torch.searchsorted(left, right[by_left].contiguous(), right=True)
    place = torch.arange(count, device=boxes.device)
    numbers = (following - place - 1).clamp(min=0)
    total = int(numbers.sum())
    if total > min(_PAIRS_A_BOX * count, _MOST_PAIRS):
        return None
    first = place.repeat_interleave(numbers)
    ends = numbers.cumsum(0)
    within = torch.arange(total, device=boxes.device) - (ends - numbers)[first]
    return by_left[first], by_left[first + 1 + within]


def _keep_by_pairs(
    boxes: Tensor, pairs: tuple[Tensor, Tensor], iou_threshold: float, offset: int
) -> Tensor:
    """Return the indices of the boxes kept, given sorted boxes and pairs that may overlap."""
    one, other = pairs
    suppressing = _overlaps(boxes[one], boxes[other], iou_threshold, offset)
    one, other = one[suppressing], other[suppressing]
    stronger, weaker = torch.minimum(one, other), torch.maximum(one, other)
    stronger, by_strength = stronger.sort()
    sources, starts = np.unique(stronger.cpu().numpy(), return_index=True)
    targets = np.split(weaker[by_strength].cpu().numpy(), starts[1:])
    kept = np.ones(len(boxes), bool)
    for source, suppressed in zip(sources.tolist(), targets):
        if kept[source]:
            kept[suppressed] = False
    return torch.from_numpy(kept.nonzero()[0]).to(boxes.device)


def _keep_by_blocks(boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes kept, given boxes by descending score."""
    remaining, left = boxes, torch.arange(len(boxes), device=boxes.device)
    kept = [left[:0]]
    while len(left):
        block, rest = remaining[:BLOCK], remaining[BLOCK:]
        chosen = _greedy(_overlaps(block[:, None], block, iou_threshold, offset))
        kept.append(left[:BLOCK][chosen])
        free = ~_overlaps(block[chosen, None], rest, iou_threshold, offset).any(0)
        remaining, left = rest[free], left[BLOCK:][free]
    return torch.cat(kept)


def _overlaps(boxes: Tensor, others: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return whether the IoU of boxes (…, 4) with others, broadcast, exceeds the threshold."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    widths = torch.minimum(x2, others[:, 2]).sub_(torch.maximum(x1, others[:, 0]))
    heights = torch.minimum(y2, others[:, 3]).sub_(torch.maximum(y1, others[:, 1]))
    if offset:
        widths, heights = widths.add_(offset), heights.add_(offset)
    common = widths.clamp_(min=0).mul_(heights.clamp_(min=0))
    union = (_areas(boxes, offset) + _areas(others, offset)).sub_(common)
    # Two boxes without area give 0 / 0 = NaN, which exceeds no threshold.
    return common.div_(union) > iou_threshold


def _areas(boxes: Tensor, offset: int) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1 + offset) * (y2 - y1 + offset)


def _greedy(overlaps: Tensor) -> Tensor:
    """Return which boxes, by descending score, are kept, given which others each suppresses."""
    # Each row is stored as the bits of one integer; only this loop runs in Python.
    rows = np.packbits(overlaps.cpu().numpy(), axis=1, bitorder='little')
    suppressed, kept = 0, []
    for number, row in enumerate(rows):
        if not suppressed >> number & 1:
            kept.append(number)
            suppressed |= int.from_bytes(row.tobytes(), 'little')
    return torch.tensor(kept, device=overlaps.device)
