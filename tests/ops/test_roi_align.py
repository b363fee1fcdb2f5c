"""Oracle: mmcv 2.1.0's compiled operators; without them the gradients check the values."""

import math
from itertools import pairwise

import pytest
import torch
from mmcv.ops import RoIAlign
from torch import Tensor

from mmconvnext.ops import roi_align, sampling


def random_rois(count: int, pictures: int = 2, extent: float = 120.0) -> Tensor:
    torch.manual_seed(count)
    start = torch.rand(count, 2) * extent * 1.2 - extent * 0.1
    sides = torch.rand(count, 2) ** 2 * extent
    picture = torch.randint(0, pictures, (count, 1)).float()
    rois = torch.cat([picture, start, start + sides], 1)
    rois[:: max(count // 3, 1), 3:] = rois[:: max(count // 3, 1), 1:3]  # no area
    return rois


def options_of(size: int, ratio: int, mode: int, aligned: bool, scale: float = 0.25) -> dict:
    return dict(
        aligned_height=size,
        aligned_width=size + 1,
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=mode,
        aligned=aligned,
    )


def run(module, input: Tensor, rois: Tensor, grads: Tensor, options: dict) -> list[Tensor]:
    """Output and gradient by ``module``, which has the operators."""
    shape = (len(rois), input.shape[1], options['aligned_height'], options['aligned_width'])
    output = input.new_zeros(shape)
    argmax = [input.new_zeros(shape if options['pool_mode'] == 0 else 0) for _ in range(2)]
    module.roi_align_forward(input, rois, output, *argmax, **options)
    grad_input = torch.zeros_like(input)
    module.roi_align_backward(grads, rois, *argmax, grad_input, **options)
    return [output, grad_input]


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('mode', [0, 1], ids=['max', 'avg'])
@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('size', [1, 7, 14])
@pytest.mark.parametrize('channels', [1, 5, 17])
def test_matches_mmcv(
    compiled, channels: int, size: int, ratio: int, mode: int, aligned: bool
) -> None:
    options = options_of(size, ratio, mode, aligned)
    rois = random_rois(40)
    input = torch.randn(2, channels, 23, 31)
    grads = torch.randn(40, channels, size, size + 1)
    for ours, theirs in zip(
        run(roi_align, input, rois, grads, options), run(compiled, input, rois, grads, options)
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize('size', [7, 14])
@pytest.mark.parametrize('stride', [4, 8, 16, 32])
def test_matches_mmcv_on_a_pyramid(compiled, stride: int, size: int) -> None:
    options = options_of(size, 0, 1, True, 1 / stride)
    rois = random_rois(60, extent=400.0)
    input = torch.randn(2, 16, 400 // stride, 640 // stride)
    grads = torch.randn(60, 16, size, size + 1)
    for ours, theirs in zip(
        run(roi_align, input, rois, grads, options), run(compiled, input, rois, grads, options)
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize('channels', [2, 16])
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 2])
def test_gradients_by_differences(mode: str, ratio: int, channels: int) -> None:
    layer = RoIAlign((2, 3), 0.5, ratio, mode)
    input = torch.randn(2, channels, 6, 7, dtype=torch.float64, requires_grad=True)
    rois = random_rois(6, extent=12.0).double()
    assert torch.autograd.gradcheck(lambda x: layer(x, rois), input)


def test_memory_is_bounded_by_parts(monkeypatch) -> None:
    rois, input = random_rois(30), torch.randn(2, 20, 30, 30)
    for mode in (0, 1):
        options = options_of(7, 0, mode, True)
        grads = torch.randn(30, 20, 7, 8)
        whole = run(roi_align, input, rois, grads, options)
        monkeypatch.setattr(sampling, 'TAPS_AT_A_TIME', 2000)
        for part, expected in zip(run(roi_align, input, rois, grads, options), whole):
            torch.testing.assert_close(part, expected)
        monkeypatch.undo()


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('channels', [16, 254])
def test_parts_are_as_large_as_memory_allows(monkeypatch, channels: int, ratio: int) -> None:
    limit = 5_000
    monkeypatch.setattr(sampling, 'TAPS_AT_A_TIME', limit)
    grid = sampling.Pooling(7, 7, 0.25, ratio, 1, True).grid_of(random_rois(60))
    shape = torch.Size([2, channels, 30, 30])
    bags = list(roi_align._bags(grid, (7, 7), shape, merge=not ratio))
    sizes = []
    for bag in bags:
        taps = bag.starts.diff(append=torch.tensor([len(bag.pixels)]))
        # As many as the taps, or as features of the bins, four of them for one.
        sizes.append(int(taps.clamp(min=-(-channels // 4)).sum()))
        assert len(bag.rois) == 1 or sizes[-1] <= limit
    assert len(bags) > 3
    assert all(size + following > limit for size, following in pairwise(sizes))
    rois = torch.cat([bag.rois for bag in bags])
    assert len(rois.unique()) == len(rois) == int((grid.points_y * grid.points_x > 0).sum())


def test_parts_of_greatest_points_are_as_large_as_memory_allows(monkeypatch) -> None:
    monkeypatch.setattr(sampling, 'TAPS_AT_A_TIME', 500)
    grid = sampling.Pooling(2, 3, 0.25, 2, 0, True).grid_of(random_rois(10))
    shape = torch.Size([2, 5, 30, 30])
    parts = roi_align._greatest(torch.randn(2 * 30 * 30, 5), grid, (2, 3), shape)
    # A RoI takes 2 · 3 bins of 2 · 2 points with 5 channels: 120.
    assert [len(chosen) for chosen, *_ in parts] == [4, 4, 2]


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', [0, 1], ids=['max', 'avg'])
def test_rois_do_not_know_of_each_other(mode: int, ratio: int) -> None:
    input, rois, grads = torch.randn(2, 17, 30, 30), random_rois(5), torch.randn(5, 17, 3, 4)
    options = options_of(3, ratio, mode, True)
    output, grad = run(roi_align, input, rois, grads, options)
    alone = [run(roi_align, input, rois[[i]], grads[[i]], options) for i in range(5)]
    torch.testing.assert_close(torch.cat([one for one, _ in alone]), output)
    torch.testing.assert_close(sum(one for _, one in alone), grad)


@pytest.mark.parametrize(
    ('centre', 'expected'), [(-1, 3.0), (-1.001, 0.0), (8, 10.0), (8.001, 0.0), (2.25, 5.25)]
)
def test_a_point_a_pixel_outside_still_counts(centre: float, expected: float) -> None:
    """One bin with one point, on a map whose values are 3 plus the row."""
    input = torch.arange(3.0, 11.0)[:, None].expand(1, 1, 8, 8)
    rois = torch.tensor([[0, 2, centre - 2, 6, centre + 2]])
    output = RoIAlign(1, 1.0, 1, aligned=False)(input, rois)
    assert output.item() == pytest.approx(expected)


def test_rounding_leaves_no_tap_beyond_the_last() -> None:
    # A pixel apart but for rounding, the two points touch four pixels instead of three.
    axis = sampling.axis_of(torch.tensor([[[1 - 2**-24, 2.0]]]), 9)
    assert axis.pixels.tolist() == [[[0, 1, 2, 3]]]
    merged = sampling.merge_taps(axis, 9)
    assert (merged.pixels * merged.weights).sum() == pytest.approx(1 + 2)


@pytest.mark.parametrize('channels', [4, 20])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=str)
def test_half_precision_is_summed_in_full(
    dtype: torch.dtype, channels: int, layout: torch.memory_format
) -> None:
    input = torch.randn(2, channels, 20, 20).to(dtype).to(memory_format=layout)
    rois = random_rois(9, extent=60.0)
    options = options_of(7, 0, 1, True)
    grads = torch.randn(9, channels, 7, 8).to(dtype)
    exact = run(roi_align, input.float(), rois.to(dtype).float(), grads.float(), options)
    for ours, expected in zip(run(roi_align, input, rois.to(dtype), grads, options), exact):
        assert torch.equal(ours, expected.to(dtype))


@pytest.mark.parametrize('channels', [3, 20])
def test_far_away_and_empty_rois_are_zero(channels: int) -> None:
    input = torch.ones(1, channels, 8, 8, requires_grad=True)
    rois = [[500, 500, 600, 600], [-900, -900, -800, -800]]  # far away
    rois += [[3, 3, 3, 3], [3, 3, 3, 6], [3, 3, 6, 3]]  # empty
    rois = torch.tensor([[0.0, *roi] for roi in rois])
    output = RoIAlign(7, 1.0)(input, rois)
    assert not output.any()
    output.sum().backward()
    assert not input.grad.any()
    nothing = RoIAlign(7, 1.0)(input, rois[:0])
    assert nothing.shape == (0, channels, 7, 7)
    nothing.sum().backward()


@pytest.mark.parametrize('mode', [0, 1])
@pytest.mark.parametrize('shape', [(1, 20, 0, 8), (1, 2, 8, 0)])
def test_a_map_without_pixels_gives_zeros(shape: tuple[int, ...], mode: int) -> None:
    input, grads = torch.ones(shape), torch.ones(3, shape[1], 2, 3)
    output, grad = run(roi_align, input, random_rois(3, 1), grads, options_of(2, 0, mode, True))
    assert not output.any()
    assert grad.shape == shape


def test_an_empty_roi_has_no_greatest_point() -> None:
    output, y, x = (torch.zeros(1, 2, 2, 3) for _ in range(3))
    rois = torch.tensor([[0.0, 3, 3, 3, 3]])
    options = options_of(2, 0, 0, True)
    roi_align.roi_align_forward(torch.ones(1, 2, 8, 8), rois, output, y, x, **options)
    assert [values.unique().tolist() for values in (output, y, x)] == [[-10000], [-1], [-1]]


def test_a_constant_map_gives_its_constant() -> None:
    output = RoIAlign(7, 0.25)(torch.full((1, 2, 50, 50), math.pi), random_rois(20, 1)[1:2])
    torch.testing.assert_close(output, torch.full_like(output, math.pi))


@pytest.mark.filterwarnings(
    'ignore:.*should not be instantiated:DeprecationWarning'
)  # dynamo's own
def test_compiles_with_torch() -> None:
    layer = RoIAlign(3, 0.5)
    compiled = torch.compile(layer, backend='eager')
    input, rois = torch.randn(2, 3, 9, 9), random_rois(5, extent=18.0)
    torch.testing.assert_close(compiled(input, rois), layer(input, rois))
