"""torchvision's operators, which serve CUDA, against this package's, on any device they are on."""

import pytest
import torch

from mmconvnext.ops import cuda, extension, nms, roi_align
from tests.ops.test_nms import case
from tests.ops.test_roi_align import options_of, random_rois

needs_torchvision = pytest.mark.skipif(
    not cuda.is_available(), reason='no torchvision for this torch'
)
DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]


@needs_torchvision
@pytest.mark.parametrize('device', DEVICES)
def test_nms_matches_torchvision(device: str) -> None:
    for seed in range(24):
        if seed % 8 in (1, 2, 5):  # ties, whose order is nobody's promise, and negative sides
            continue
        boxes, scores = (values.to(device) for values in case(seed))
        expected = cuda.nms(boxes, scores, iou_threshold=0.5, offset=0)
        assert torch.equal(nms.nms(boxes, scores, iou_threshold=0.5, offset=0), expected), seed


@needs_torchvision
@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_matches_torchvision(ratio: int, aligned: bool, device: str) -> None:
    options = options_of(7, ratio, 1, aligned)
    rois = random_rois(40).to(device)
    input, grads = torch.randn(2, 5, 23, 31), torch.randn(40, 5, 7, 8)
    results = []
    for module in (roi_align, cuda):
        features, nothing = input.to(device), input.new_zeros(0, device=device)
        output = torch.zeros_like(grads, device=device)
        module.roi_align_forward(features, rois, output, nothing, nothing, **options)
        gradient = torch.zeros_like(features)
        module.roi_align_backward(grads.to(device), rois, nothing, nothing, gradient, **options)
        results.append((output, gradient))
    for ours, theirs in zip(*results):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@needs_torchvision
def test_bfloat16_is_given_as_float32() -> None:
    boxes, scores = (values.bfloat16() for values in case(2))
    options = dict(iou_threshold=0.5, offset=0)
    expected = cuda.nms(boxes.float(), scores.float(), **options)
    assert torch.equal(cuda.nms(boxes, scores, **options), expected)
    options, boxes = options_of(7, 0, 1, True), random_rois(9).bfloat16()
    features = torch.randn(2, 5, 23, 31).bfloat16()
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        nothing, rois = features.new_zeros(0), boxes.to(dtype)
        output = torch.zeros(9, 5, 7, 8, dtype=dtype)
        cuda.roi_align_forward(features.to(dtype), rois, output, nothing, nothing, **options)
        gradient = torch.zeros_like(features, dtype=dtype)
        cuda.roi_align_backward(output, rois, nothing, nothing, gradient, **options)
        results.append((output, gradient))
    for ours, exact in zip(*results):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ('serves', 'options'),
    [
        (cuda.serves_nms, dict(iou_threshold=0.5, offset=0)),
        (cuda.serves_roi_align, options_of(7, 0, 1, True)),
    ],
)
def test_serves_cuda_alone(monkeypatch, serves, options: dict) -> None:
    monkeypatch.setattr(cuda, 'is_available', lambda: True)
    assert not serves(torch.zeros(3, 4), torch.zeros(3), **options)
    on_cuda = torch.empty(0)
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
    assert serves(on_cuda, on_cuda, **options)
    assert serves(on_cuda.bfloat16(), on_cuda, **options)
    assert not serves(on_cuda.to(torch.float8_e4m3fn), on_cuda, **options)
    other = {**options, 'offset': 1} if 'offset' in options else {**options, 'pool_mode': 0}
    assert not serves(on_cuda, on_cuda, **other)


def test_the_stand_in_asks_for_each_call() -> None:
    boxes, scores = case(0)
    operator = extension.StandIn(extension.NAME).nms
    kept = operator(boxes, scores, iou_threshold=0.5, offset=0)
    assert torch.equal(kept, nms.nms(boxes, scores, iou_threshold=0.5, offset=0))
