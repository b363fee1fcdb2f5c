from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmconvnext.backbones.layers import (
    GlobalResponseNorm,
    LayerNorm,
    LayerNorm2d,
    StochasticDepth,
    layer_norm,
    lean_norm,
)


def test_layer_norm_matches_closed_form() -> None:
    norm = LayerNorm(5, eps=1e-6).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x), expected * norm.weight + norm.bias)


def test_layer_norm_2d_normalises_channels() -> None:
    norm = LayerNorm2d(6)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 6, 3, 5)
    flat = torch.nn.functional.layer_norm(x.movedim(1, -1), (6,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(norm(x), flat.movedim(-1, 1))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_layer_norm_takes_statistics_in_float32(dtype: torch.dtype) -> None:
    # A large mean leaves nothing of the variance in half precision.
    x = (torch.randn(4, 64) + 200).to(dtype)
    norm = LayerNorm(64)
    expected = norm(x.float())
    for module in (norm, norm.to(dtype)):
        y = module(x)
        assert y.dtype == dtype
        torch.testing.assert_close(y, expected.to(dtype), rtol=0, atol=0)


def test_grn_matches_closed_form() -> None:
    grn = GlobalResponseNorm(5).double()
    torch.nn.init.normal_(grn.gamma)
    torch.nn.init.normal_(grn.beta)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    norm = (x**2).sum((1, 2), keepdim=True).sqrt()
    share = norm / (norm.mean(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(grn(x), grn.gamma * (x * share) + grn.beta + x)


def test_grn_survives_float16_where_the_norm_overflows() -> None:
    grn = GlobalResponseNorm(4)
    torch.nn.init.ones_(grn.gamma)
    x = torch.full((1, 80, 80, 4), 1000.0)  # √(80 · 80 · 1000²) = 80,000 > 65,504
    torch.testing.assert_close(grn(x.half()).float(), grn(x), rtol=1e-3, atol=0)


def test_grn_of_zeros_has_finite_gradients() -> None:
    grn = GlobalResponseNorm(4)
    torch.nn.init.ones_(grn.gamma)
    x = torch.zeros(1, 2, 2, 4, requires_grad=True)
    grn(x).sum().backward()
    assert x.grad.isfinite().all()


def test_stochastic_depth_drops_samples_and_keeps_the_mean() -> None:
    drop = StochasticDepth(0.25)
    y = drop(torch.ones(20_000, 2, 1, 1))
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(y[:, 0], y[:, 1]), 'a sample is dropped as a whole'
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(drop.eval()(torch.ones(8, 1)), torch.ones(8, 1))


@pytest.mark.parametrize('rate', [-0.1, 1.0])
def test_stochastic_depth_refuses_impossible_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r'expected a drop rate in \[0, 1\)'):
        StochasticDepth(rate)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_the_norm_for_a_gpu_is_as_near_to_float64(dtype: torch.dtype, autocast: bool) -> None:
    x, grad = torch.randn(2, 5, 7, 40), torch.randn(2, 5, 7, 40)
    weight, bias = torch.randn(2, 40)

    def run(norm: Callable[..., Tensor], to: torch.dtype, of_weights: torch.dtype) -> list[Tensor]:
        given = x.to(to), weight.to(of_weights), bias.to(of_weights)
        given = [value.detach().clone().requires_grad_() for value in given]
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast and to == dtype):
            y = norm(*given, 1e-6)
        y.backward(grad.to(y.dtype))
        assert [value.grad.dtype for value in given] == [value.dtype for value in given]
        assert y.dtype == to
        return [value.double() for value in (y.detach(), *(value.grad for value in given))]

    exact = run(layer_norm, torch.float64, torch.float64)
    lean, plain = (run(norm, dtype, torch.float32) for norm in (lean_norm, layer_norm))
    for mine, theirs, truth in zip(lean, plain, exact, strict=True):
        # Rounded once more, before the affine part.
        assert (mine - truth).norm() <= 2 * (theirs - truth).norm()


def test_the_norm_for_a_gpu_sums_in_float32() -> None:
    """Products of a float16 gradient under a loss scale leave float16's range."""
    x, grad = torch.randn(2, 5, 7, 40).half(), torch.full((2, 5, 7, 40), 4e4).half()
    weight, bias = torch.ones(40, requires_grad=True), torch.zeros(40, requires_grad=True)
    lean_norm(x, weight, bias, 1e-6).backward(grad)
    assert weight.grad.isfinite().all()
    assert bias.grad.isfinite().all()


def test_a_norm_that_was_pickled_without_its_form_runs() -> None:
    norm, x = LayerNorm2d(4, fast=True), torch.randn(1, 4, 2, 2)
    expected = norm(x)
    del vars(norm)['fast']
    assert torch.equal(norm(x), expected)
