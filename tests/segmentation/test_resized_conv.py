import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.segmentation import resized_conv
from mmconvnext.segmentation.resized_conv import conv_of_resized

ALIGNED = [False, True]


def plain(base: Tensor, x: Tensor, weight: Tensor, align_corners: bool) -> Tensor:
    x = F.interpolate(x, base.shape[2:], mode='bilinear', align_corners=align_corners)
    return base + F.conv2d(x, weight, padding=1)


def results(function, base: Tensor, x: Tensor, weight: Tensor, align_corners: bool) -> list[Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in (base, x, weight)]
    # In use, what is added to is a convolution's output and no leaf.
    out = function(leaves[0] * 1, *leaves[1:], align_corners)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    out.backward(weights)
    return [out.detach(), *(leaf.grad for leaf in leaves)]


@settings(deadline=None, max_examples=80)
@given(
    samples=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    source=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    align_corners=st.booleans(),
    tile=st.sampled_from((1, 3, 16, 128)),
    budget=st.sampled_from((1, 1 << 12, 12 << 20)),
    few_kernels=st.booleans(),
    seed=st.integers(0, 9),
)
def test_matches_resize_and_convolve(
    samples, channels, size, source, align_corners, tile, budget, few_kernels, seed
) -> None:
    torch.manual_seed(seed)
    base = torch.randn(samples, channels[0], *size, dtype=torch.float64)
    x = torch.randn(samples, channels[1], *source, dtype=torch.float64)
    weight = torch.randn(*channels, 3, 3, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resized_conv, '_TILE', tile)
        patch.setattr(resized_conv, '_CPU_BYTES', budget)
        patch.setattr(resized_conv, '_DEVICE_BYTES', budget)
        patch.setattr(resized_conv, '_in_few_kernels', lambda x: few_kernels)
        ours = results(conv_of_resized, base, x, weight, align_corners)
    for a, b in zip(ours, results(plain, base, x, weight, align_corners)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('align_corners', ALIGNED)
def test_matches_resize_and_convolve_in_float32(align_corners: bool) -> None:
    torch.manual_seed(0)
    base, x = torch.randn(1, 16, 67, 150), torch.randn(1, 24, 17, 38)
    weight = torch.randn(16, 24, 3, 3) / 15
    ours = results(conv_of_resized, base, x, weight, align_corners)
    for a, b in zip(ours, results(plain, base, x, weight, align_corners)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize('align_corners', ALIGNED)
def test_the_expression_for_compilers_matches(align_corners: bool) -> None:
    base, x = torch.randn(2, 3, 13, 22), torch.randn(2, 5, 4, 7)
    weight = torch.randn(3, 5, 3, 3)
    compiled = torch.compile(conv_of_resized, backend='aot_eager', fullgraph=True, dynamic=True)
    expected = plain(base, x, weight, align_corners)
    torch.testing.assert_close(compiled(base.clone(), x, weight, align_corners), expected)


def test_memory_is_bounded() -> None:
    x, weight = torch.randn(2, 512, 64, 64), torch.randn(512, 512, 3, 3)
    tiles = list(resized_conv._tiles(torch.Size((2, 512, 128, 128)), x, False))
    held = [
        9 * len(weight[tile.channels]) * tile.rows.matrix.shape[2] * tile.columns.matrix.shape[2]
        for tile in tiles
    ]
    assert 4 * max(held) <= resized_conv._CPU_BYTES
    assert sum(len(weight[tile.channels]) for tile in tiles) == 2 * len(weight)
