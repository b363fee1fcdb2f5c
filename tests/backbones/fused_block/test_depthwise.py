import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmconvnext.backbones.fused_block.depthwise import depthwise_weight_grad


def by_autograd(x: torch.Tensor, grad: torch.Tensor, kernel: int) -> torch.Tensor:
    channels = x.shape[1]
    weight = torch.zeros(channels, 1, kernel, kernel, dtype=x.dtype, requires_grad=True)
    F.conv2d(x, weight, padding=kernel // 2, groups=channels).backward(grad)
    return weight.grad


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 70),
    width=st.integers(1, 40),
    kernel=st.sampled_from((1, 3, 7, 11)),
    channels_last=st.booleans(),
)
def test_matches_autograd(samples, channels, height, width, kernel, channels_last) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, grad = (
        torch.randn(samples, channels, height, width, dtype=torch.float64).contiguous(
            memory_format=layout
        )
        for _ in range(2)
    )
    ours = depthwise_weight_grad(x, grad, kernel)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, by_autograd(x, grad, kernel), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('size', [(16, 16), (64, 64), (100, 37)])
def test_matches_autograd_in_float32(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, grad = torch.randn(2, 24, *size), torch.randn(2, 24, *size)
    exact = by_autograd(x.double(), grad.double(), 7)
    error = (depthwise_weight_grad(x, grad, 7) - exact).abs().max() / exact.abs().max()
    assert error < 5e-6


def test_matches_autograd_in_half_precision() -> None:
    x, grad = (torch.randn(1, 16, 9, 9, dtype=torch.bfloat16) for _ in range(2))
    ours = depthwise_weight_grad(x, grad, 7)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, by_autograd(x, grad, 7))
