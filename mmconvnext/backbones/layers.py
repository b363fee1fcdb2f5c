"""The layers ConvNeXt adds to torch's own: LayerNorm over channels, GRN, stochastic depth."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmconvnext.backbones import triton_kernels as kernels
from mmconvnext.backbones.forms import branch_dtype, is_traced, norm_is_lean
from mmconvnext.backbones.fused_block.weights import exact
from mmconvnext.errors import ArgumentError


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """What :class:`LayerNorm` does."""
    dtype = exact(x.dtype)
    weight, bias = (p if p is None else p.to(dtype) for p in (weight, bias))
    return F.layer_norm(x.to(dtype), x.shape[-1:], weight, bias, eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last dimension, its statistics never below float32.

    Shapes: (..., C) → (..., C), same dtype as the input. Under float16 or bfloat16, mixed
    precision included, mean and variance are taken in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


def lean_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of (..., C) in 16 bits, in its dtype, no float32 copies; differentiable once.

    The kernel takes its statistics in float32, but accepts only weights in the dtype of ``x``: the
    affine part is a pass of its own and keeps its dtype.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _LeanNorm.apply(x.contiguous(), weight, bias, eps)


class _LeanNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normed, _, rstd = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        ctx.save_for_backward(normed, rstd, weight)
        return torch.addcmul(bias, normed, weight, out=torch.empty_like(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normed, rstd, weight = ctx.saved_tensors
        grad = grad.contiguous()
        with torch.autocast(grad.device.type, enabled=False):
            pixels = tuple(range(grad.ndim - 1))
            # The zeros make it float32: products of scaled gradients leave float16's range.
            zeros = torch.zeros_like(weight, dtype=exact(grad.dtype))
            of_weight = torch.addcmul(zeros, grad, normed).sum(pixels)
            of_bias = grad.sum(pixels, dtype=exact(grad.dtype))
            upper = torch.mul(grad, weight, out=torch.empty_like(grad))
            # What is normed has mean 0 and deviation 1: its own backward pass, over the deviation.
            of_x, _, _ = torch.ops.aten.native_layer_norm_backward(
                *(upper, normed, normed.shape[-1:], torch.zeros_like(rstd), torch.ones_like(rstd)),
                *(None, None, [True, False, False]),
            )
        return of_x.mul_(rstd), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None


class LayerNorm2d(LayerNorm):
    """:class:`LayerNorm` over the channels of a map.

    Shapes: (N, C, H, W) → (N, C, H, W). The result is channels-last in memory: the
    normalisation runs on an (N, H, W, C) view, and no copy is made to come back.

    Args:
        channels: Of the map.
        eps: Added to the variance.
        fast: Take the form that is meant for the device; for 16 bits on a GPU that is one that is
            differentiable once.
        triton_kernels: Prefer the Triton kernel where it can run.
    """

    # Of a model that was pickled before there were the options.
    fast = False
    triton_kernels = False

    def __init__(
        self, channels: int, eps: float = 1e-5, fast: bool = False, triton_kernels: bool = True
    ) -> None:
        super().__init__(channels, eps=eps)
        self.fast = fast
        self.triton_kernels = triton_kernels

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return self._in_form(x)(x, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    def _in_form(self, x: Tensor) -> Callable[..., Tensor]:
        if not self.fast or self.weight is None or is_traced(x):
            return layer_norm
        in_triton = self.triton_kernels and kernels.run_on(x, branch_dtype(x))
        if in_triton and kernels.are_plain(self.weight, self.bias):
            return _norm_in_triton
        return lean_norm if norm_is_lean(x) else layer_norm


def _norm_in_triton(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    # Not at the top: Triton is no dependency.
    from mmconvnext.backbones.triton_kernels.layer_norm import layer_norm

    with torch.autocast(x.device.type, enabled=False):
        return layer_norm(x.contiguous(), weight, bias, eps)


def global_response_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """What :class:`GlobalResponseNorm` does."""
    dtype = exact(x.dtype)
    response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=dtype)
    response = response / (response.mean(dim=-1, keepdim=True) + eps)
    scale = 1 + gamma.to(dtype) * response
    return torch.addcmul(beta.to(x.dtype), x, scale.to(x.dtype))


class GlobalResponseNorm(nn.Module):
    """Global Response Normalization, ``γ · (x · N(G(x))) + β + x``.

    ``G`` is the L2 norm of each channel over the map and ``N`` divides it by its mean over the
    channels. The norm is taken in float32 under float16 and bfloat16, where a sum of squares
    overflows or loses its last digits.

    Shapes: (N, H, W, C) → (N, H, W, C); ``gamma`` and ``beta`` are (C,).

    Source: ConvNeXt V2 (arXiv 2301.00808), section 4, algorithm 1.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return global_response_norm(x, self.gamma, self.beta, self.eps)


class StochasticDepth(nn.Module):
    """Drops whole residual branches, sample by sample, in training.

    A sample's branch is zeroed with probability ``p`` and otherwise divided by ``1 - p``, so
    that its expectation stays. The identity in ``eval()``.

    Shapes: (N, ...) → (N, ...).

    Raises:
        ArgumentError: (a ValueError) ``p`` is not in [0, 1).

    Source: Huang et al., Deep Networks with Stochastic Depth (arXiv 1603.09382).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ArgumentError(f'stochastic depth: expected a drop rate in [0, 1), got {p}')
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor(x) if self.drops() else x

    def drops(self) -> bool:
        """Whether it does anything now."""
        return self.training and self.p > 0

    def factor(self, x: Tensor) -> Tensor:
        """What the branch of each sample is multiplied by, drawn on its device.

        Shapes: (N, ...) → (N, 1, ...), same dtype.
        """
        kept = self.draw(x.shape[0], x.device).to(x.dtype).div_(1 - self.p)
        return kept.view(-1, *(1 for _ in x.shape[1:]))

    def draw(self, samples: int, device: torch.device | str = 'cpu') -> Tensor:
        """One draw for each sample, 1 where its branch is kept and 0 where it is dropped.

        Shapes: → (samples,), float32.
        """
        return torch.empty(samples, device=device).bernoulli_(1 - self.p)

    def extra_repr(self) -> str:
        return f'p={self.p:g}'
