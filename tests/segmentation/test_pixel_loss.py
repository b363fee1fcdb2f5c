import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.errors import ArgumentError
from mmconvnext.segmentation import FCNHead, pixel_loss
from mmconvnext.segmentation.pixel_loss import resized_cross_entropy

IGNORED = 255


def plain(logits: Tensor, labels: Tensor, align_corners: bool = False) -> tuple[Tensor, Tensor]:
    logits = F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=align_corners)
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction='sum')
    return loss, ((logits.argmax(1) == labels) & (labels != IGNORED)).sum()


def draw(classes: int, size: tuple[int, int], label_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    logits = torch.randn(2, classes, *size, dtype=torch.float64) * 4
    labels = torch.randint(0, classes, (2, *label_size))
    labels[torch.rand(labels.shape) < 0.2] = IGNORED
    return logits.requires_grad_(), labels


def assert_same(logits: Tensor, labels: Tensor, align_corners: bool = False) -> None:
    results = []
    for function in (plain, resized_cross_entropy):
        loss, correct = function(logits, labels, align_corners)
        (gradient,) = torch.autograd.grad(loss * 0.7, logits)
        results.append((loss, correct, gradient))
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-11)


sides = st.integers(1, 24)


@given(st.integers(2, 9), sides, sides, st.integers(1, 90), st.integers(1, 90), st.booleans())
@settings(deadline=None, max_examples=60)
def test_matches_torch(
    classes: int, h: int, w: int, height: int, width: int, align_corners: bool
) -> None:
    assert_same(*draw(classes, (h, w), (height, width)), align_corners)


@pytest.mark.parametrize('tile_bytes', [1, 40_000, 1 << 30])
@pytest.mark.parametrize('band_rows', [1, 7, 64])
def test_bands_of_any_size(monkeypatch, tile_bytes: int, band_rows: int) -> None:
    monkeypatch.setattr(pixel_loss, '_TILE_BYTES', tile_bytes)
    monkeypatch.setattr(pixel_loss, '_BAND_ROWS', band_rows)
    monkeypatch.setattr(pixel_loss, '_BAND_COLUMNS', 20)
    assert_same(*draw(5, (13, 17), (52, 69)))
    assert_same(*draw(5, (52, 69), (13, 17)))


def test_large_logits_and_nothing_that_counts() -> None:
    logits, labels = draw(4, (5, 5), (11, 9))
    assert_same((logits * 1e4).detach().requires_grad_(), labels)
    labels[:] = IGNORED
    loss, correct = resized_cross_entropy(logits, labels)
    loss.backward()
    assert loss == 0
    assert correct == 0
    assert not logits.grad.any()


def test_strided_logits_and_no_gradient() -> None:
    logits, labels = draw(4, (6, 8), (24, 32))
    assert_same(logits.detach().to(memory_format=torch.channels_last).requires_grad_(), labels)
    loss, correct = resized_cross_entropy(logits.detach(), labels)
    assert not loss.requires_grad
    assert (loss, correct) == pytest.approx([value.item() for value in plain(logits, labels)])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_computes_in_float32_under_autocast(dtype: torch.dtype) -> None:
    logits, labels = draw(6, (8, 8), (32, 32))
    half = logits.detach().to(dtype).requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss, correct = resized_cross_entropy(half, labels)
    loss.backward()
    exact = half.detach().float().requires_grad_()
    expected, expected_correct = plain(exact, labels)
    expected.backward()
    torch.testing.assert_close((loss, correct), (expected, expected_correct))
    torch.testing.assert_close(half.grad, exact.grad.to(dtype))


def test_second_derivative_raises() -> None:
    logits, labels = draw(3, (4, 4), (8, 8))
    loss, _ = resized_cross_entropy(logits, labels)
    (gradient,) = torch.autograd.grad(loss**2, logits, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        gradient.sum().backward()


def test_keeps_nothing_of_the_size_of_the_labels() -> None:
    logits, labels = draw(3, (8, 8), (64, 64))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        resized_cross_entropy(logits, labels)
    assert kept == [logits.numel()]


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_traced_is_the_plain_formula() -> None:
    logits, labels = draw(3, (4, 4), (8, 8))
    traced = torch.jit.trace(resized_cross_entropy, (logits.detach(), labels))
    assert 'upsample_bilinear2d' in str(traced.graph)
    torch.testing.assert_close(traced(logits, labels), plain(logits, labels))


@pytest.mark.parametrize('label', [-1, 3, 254])
def test_names_a_label_that_is_no_class(label: int) -> None:
    logits, labels = draw(3, (4, 4), (8, 8))
    labels[1, 3, 3] = label
    with pytest.raises(ArgumentError, match=rf'expected 0…2 or ignore_index, got {label};'):
        resized_cross_entropy(logits, labels)
    with pytest.raises(ArgumentError, match='expected logits'):
        resized_cross_entropy(logits, labels[:1])


HEAD = dict(in_channels=6, channels=4, num_classes=5, num_convs=1, in_index=0)


def losses(options: dict, labels: Tensor, fast: bool) -> tuple[dict, Tensor]:
    torch.manual_seed(0)
    head = FCNHead(fast=fast, **{**HEAD, **options}).double()
    features = torch.randn(2, 6, 9, 7, dtype=torch.float64, requires_grad=True)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    found = head.eval().loss([features], samples, None)
    loss = sum(value for name, value in found.items() if 'loss' in name)
    return found, torch.autograd.grad(loss, features)[0]


CROSS_ENTROPY = dict(type='CrossEntropyLoss')


@pytest.mark.parametrize(
    ('options', 'fast'),
    [
        (dict(), True),
        (dict(align_corners=True, ignore_index=3), True),
        (dict(loss_decode=dict(**CROSS_ENTROPY, avg_non_ignore=True, loss_weight=0.4)), True),
        (dict(loss_decode=dict(**CROSS_ENTROPY, loss_name='loss_other')), True),
        (dict(loss_decode=dict(**CROSS_ENTROPY, class_weight=[1.0, 2, 3, 4, 5])), False),
        (dict(loss_decode=dict(**CROSS_ENTROPY, use_sigmoid=True)), False),
        (dict(loss_decode=[CROSS_ENTROPY, dict(type='DiceLoss')]), False),
        (dict(sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=9)), False),
    ],
)
@pytest.mark.filterwarnings('ignore:When align_corners=True')
@pytest.mark.filterwarnings('ignore:``build_pixel_sampler``')
def test_head_matches_mmseg(monkeypatch, options: dict, fast: bool) -> None:
    calls = []
    bands = pixel_loss.resized_cross_entropy
    monkeypatch.setattr(
        pixel_loss, 'resized_cross_entropy', lambda *args: calls.append(1) or bands(*args)
    )
    labels = torch.randint(0, 5, (2, 35, 29))
    if 'class_weight' not in options.get('loss_decode', {}):  # there mmseg cannot ignore
        labels[:, :4] = options.get('ignore_index', IGNORED)
    expected, expected_gradient = losses(options, labels, fast=False)
    assert not calls
    found, gradient = losses(options, labels, fast=True)
    assert bool(calls) is fast
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-7, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


def test_head_matches_mmseg_where_nothing_counts() -> None:
    labels = torch.full((2, 20, 20), IGNORED)
    (expected, _), (found, gradient) = (losses({}, labels, fast) for fast in (False, True))
    torch.testing.assert_close(found['acc_seg'].double(), expected['acc_seg'].double())
    assert found['loss_ce'] == expected['loss_ce'] == 0
    assert not gradient.any()
