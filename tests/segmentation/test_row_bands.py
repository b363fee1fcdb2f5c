import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.segmentation.row_bands import AxisMap, interpolation, window_mean

lengths = st.integers(1, 70)


def apply(axis: AxisMap, sources: list[Tensor], size: int) -> Tensor:
    """Through the tiles, as the users of an AxisMap do: (sources × length, c) to (outputs, c)."""
    return torch.cat(
        [
            sum(matrix @ sources[number][rows] for number, rows, matrix in tile.pieces)
            for tile in axis.tiles(size, sources[0])
        ]
    )


@given(lengths, st.integers(1, 300), st.booleans(), st.integers(1, 40))
@settings(deadline=None, max_examples=150)
def test_interpolation_matches_torch(before: int, after: int, corners: bool, size: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        x = torch.randn(before, 3, dtype=dtype)
        expected = F.interpolate(
            x.T[None, :, :, None], (after, 1), mode='bilinear', align_corners=corners
        )[0, :, :, 0].T
        result = apply(interpolation(before, after, corners, dtype), [x], size)
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance * 4)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 50), st.integers(1, 90), st.booleans())
def test_matrix_of_interpolation_matches_torch(source: int, target: int, align: bool) -> None:
    eye = torch.eye(source, dtype=torch.float64)[None]
    expected = F.interpolate(eye[:, :, None], (1, target), mode='bilinear', align_corners=align)
    matrix = interpolation(source, target, align, torch.float64).matrix()
    torch.testing.assert_close(matrix.t(), expected[0, :, 0], rtol=0, atol=1e-12)


def test_float32_coordinates_are_those_of_torch() -> None:
    # 1e-5 of a pixel is where float32 coordinates are, at the far end of a long axis.
    x = torch.linspace(0, 1e4, 900)[:, None]
    expected = F.interpolate(x.T[:, :, None][None], (3464, 1), mode='bilinear')[0, :, :, 0].T
    result = apply(interpolation(900, 3464, False, torch.float32), [x], 16)
    torch.testing.assert_close(result, expected, rtol=3e-7, atol=0)


@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(1, 60), st.booleans(), st.integers(1, 40)
)
@settings(deadline=None, max_examples=60)
def test_composed_maps_are_maps_in_turn(
    first: int, second: int, third: int, flipped: bool, size: int
) -> None:
    x = torch.randn(first, 2, dtype=torch.float64)
    inner = interpolation(first, second, False, x.dtype)
    outer = interpolation(second, third, True, x.dtype)
    kept = slice(third // 4, third)
    expected = apply(outer, [apply(inner, [x], 7)], 7)[kept]
    result = apply(inner.then(outer).kept(kept, flipped), [x], size)
    torch.testing.assert_close(result, expected.flip(0) if flipped else expected)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 50), st.integers(1, 20))
@settings(deadline=None, max_examples=80)
def test_window_mean_matches_adding_and_counting(
    size: int, stride: int, length: int, tile: int
) -> None:
    size = min(size, length)
    stride = min(stride, size)
    starts = [min(i, length - size) for i in range(0, length - size + stride, stride)]
    windows = [torch.randn(size, 2, dtype=torch.float64) for _ in starts]
    total, count = torch.zeros(length, 2, dtype=torch.float64), torch.zeros(length, 1)
    for start, window in zip(starts, windows):
        total[start : start + size] += window
        count[start : start + size] += 1
    result = apply(window_mean(starts, size, length), windows, tile)
    torch.testing.assert_close(result, total / count)


def test_tiles_name_only_the_inputs_that_count() -> None:
    axis = interpolation(128, 512, False, torch.float32)
    tile = axis.tiles(64, torch.empty(0))[1]
    assert tile.outputs == slice(64, 128)
    assert tile.pieces[0].inputs == slice(15, 33)  # 64 outputs of fourfold resizing
    same = interpolation(10, 10, False, torch.float32).tiles(4, torch.empty(0))
    assert [tile.pieces[0].inputs for tile in same] == [slice(0, 4), slice(4, 8), slice(8, 10)]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_matrices_have_the_dtype_asked_for(dtype: torch.dtype) -> None:
    axis = interpolation(3, 7, False, torch.float32)
    assert axis.tiles(7, torch.empty(0, dtype=dtype))[0].pieces[0].matrix.dtype == dtype
