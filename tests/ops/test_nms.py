"""Oracle: mmcv 2.1.0's compiled operators."""

import pytest
import torch
from mmcv.ops import batched_nms
from torch import Tensor

from mmconvnext.ops.nms import nms, softnms


def random_boxes(count: int, size: float = 200.0, whole: bool = False) -> Tensor:
    centres, sides = torch.rand(count, 2) * 1000, torch.rand(count, 2) * size
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    return boxes.round() if whole else boxes


def case(seed: int) -> tuple[Tensor, Tensor]:
    """Random boxes with, by turns, ties, duplicates, no area, negative sides and large numbers."""
    torch.manual_seed(seed)
    count = [1, 2, 50, 129, 300, 1000][seed % 6]
    boxes, scores = random_boxes(count, [20.0, 200.0, 900.0][seed % 3], seed % 2 == 0), None
    kind = seed % 8
    if kind == 1:
        scores = torch.randint(0, 4, (count,)) / 4
    elif kind == 2:
        boxes[count // 2 :] = boxes[: count - count // 2]
    elif kind == 3:
        boxes[::3, 2:] = boxes[::3, :2]
    elif kind == 4:
        boxes = boxes * 1e6
    elif kind == 5:
        boxes[::4] = boxes[::4].flip(1)
    elif kind == 6:
        boxes = boxes + torch.randint(0, 80, (count, 1)) * 1001.0
    elif kind == 7:
        boxes = boxes[:1].expand(count, 4) + torch.rand(count, 4)
    return boxes.contiguous(), torch.rand(count) if scores is None else scores


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.5, 0.7])
def test_nms_matches_mmcv(compiled, threshold: float, offset: int) -> None:
    for seed in range(200):
        boxes, scores = case(seed)
        options = dict(iou_threshold=threshold, offset=offset)
        expected = compiled.nms(boxes, scores, **options)
        assert torch.equal(nms(boxes, scores, **options), expected), seed


@pytest.mark.parametrize('count', [0, 1, 20_000])
def test_nms_matches_mmcv_on_few_and_many_boxes(compiled, count: int) -> None:
    torch.manual_seed(0)
    boxes, scores = random_boxes(count), torch.rand(count)
    expected = compiled.nms(boxes, scores, iou_threshold=0.7, offset=0)
    assert torch.equal(nms(boxes, scores, iou_threshold=0.7, offset=0), expected)


def test_nms_keeps_the_best_of_those_that_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 10]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.5])
    assert nms(boxes, scores, iou_threshold=0.5, offset=0).tolist() == [1, 2]
    assert nms(boxes, scores, iou_threshold=0.9, offset=0).tolist() == [1, 2, 0]
    empty = nms(boxes[:0], scores[:0], iou_threshold=0.5, offset=0)
    assert empty.shape == (0,)
    assert empty.dtype == torch.long


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', [0, 1, 2])
def test_softnms_matches_mmcv(compiled, method: int, offset: int) -> None:
    for seed in range(48):
        boxes, scores = case(seed)
        options = dict(iou_threshold=0.3, sigma=0.5, min_score=0.05, method=method, offset=offset)
        dets, expected_dets = (boxes.new_zeros(len(boxes), 5) for _ in range(2))
        kept = softnms(boxes, scores, dets, **options)
        expected = compiled.softnms(boxes, scores, expected_dets, **options)
        assert torch.equal(kept, expected), seed
        # mmcv leaves what it writes beyond the boxes left undefined.
        torch.testing.assert_close(dets[: len(kept)], expected_dets[: len(kept)], equal_nan=True)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """Areas of boxes of an image overflow in float16."""
    boxes, scores = random_boxes(300, 900.0).to(dtype), torch.rand(300).to(dtype)
    options = dict(iou_threshold=0.5, offset=0)
    kept = nms(boxes, scores, **options)
    order = scores[kept].sort(descending=True, stable=True)[0]
    assert torch.equal(scores[kept], order)
    assert set(kept.tolist()) == set(nms(boxes.float(), scores.float(), **options).tolist())
    soft = dict(iou_threshold=0.3, sigma=0.5, min_score=0.05, method=2, offset=0)
    results = []
    for values in (dtype, torch.float32):
        dets = torch.zeros(300, 5, dtype=values)
        results.append((softnms(boxes.to(values), scores.to(values), dets, **soft), dets.float()))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0.01, atol=0.01, equal_nan=True)


def test_softnms_of_nothing() -> None:
    options = dict(iou_threshold=0.3, sigma=0.5, min_score=0.05, method=1, offset=0)
    kept = softnms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 5), **options)
    assert kept.shape == (0,)


@pytest.mark.filterwarnings(
    'ignore:.*should not be instantiated:DeprecationWarning'
)  # dynamo's own
def test_compiles_with_torch() -> None:
    boxes, scores = case(0)
    labels = torch.zeros(len(boxes), dtype=torch.long)
    options = dict(type='nms', iou_threshold=0.5)

    def suppress(boxes: Tensor, scores: Tensor) -> Tensor:
        return batched_nms(boxes + 1, scores, labels, options)[1]

    compiled = torch.compile(suppress, backend='eager')
    assert torch.equal(compiled(boxes, scores), suppress(boxes, scores))
