"""ConvNeXt's layers that torch lacks: LayerNorm over channels, GRN, stochastic depth."""

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
    """Apply LayerNorm as :class:`LayerNorm` does."""
    dtype = exact(x.dtype)
    weight, bias = (p if p is None else p.to(dtype) for p in (weight, bias))
    return F.layer_norm(x.to(dtype), x.shape[-1:], weight, bias, eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last dimension, with statistics in float32 or more.

    Shapes: (..., C) → (..., C), same dtype as the input. For float16 and bfloat16, including
    mixed precision, mean and variance are computed in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


def lean_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Apply LayerNorm to a 16-bit (..., C) tensor without float32 copies; differentiable once.

    The kernel computes statistics in float32, but accepts only weights in the dtype of ``x``:
    the affine part is a separate pass and keeps its dtype.
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
            # The float32 zeros set the dtype: products of scaled gradients exceed float16's range.
            zeros = torch.zeros_like(weight, dtype=exact(grad.dtype))
            of_weight = torch.addcmul(zeros, grad, normed).sum(pixels)
            of_bias = grad.sum(pixels, dtype=exact(grad.dtype))
            upper = torch.mul(grad, weight, out=torch.empty_like(grad))
            # The normalised values have mean 0 and deviation 1, so their backward pass over the
            # deviation is the backward pass of the input.
            of_x, _, _ = torch.ops.aten.native_layer_norm_backward(
                *(upper, normed, normed.shape[-1:], torch.zeros_like(rstd), torch.ones_like(rstd)),
                *(None, None, [True, False, False]),
            )
        return of_x.mul_(rstd), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None


class LayerNorm2d(LayerNorm):
    """:class:`LayerNorm` over the channels of a feature map.

    Shapes: (N, C, H, W) → (N, C, H, W). The result is channels-last in memory, because the
    normalisation runs on an (N, H, W, C) view.

    Args:
        channels: Channels of the map.
        eps: Added to the variance.
        fast: Use the form for the device. For 16 bits on a GPU this form is differentiable once.
        triton_kernels: Use the Triton kernel if it can run.
    """

    # Defaults for models that were pickled before these options existed.
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
    # Not imported at the top, because Triton is optional.
    from mmconvnext.backbones.triton_kernels.layer_norm import layer_norm

    with torch.autocast(x.device.type, enabled=False):
        return layer_norm(x.contiguous(), weight, bias, eps)


def global_response_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Apply Global Response Normalization as :class:`GlobalResponseNorm` does."""
    dtype = exact(x.dtype)
    response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=dtype)
    response = response / (response.mean(dim=-1, keepdim=True) + eps)
    scale = 1 + gamma.to(dtype) * response
    return torch.addcmul(beta.to(x.dtype), x, scale.to(x.dtype))


class GlobalResponseNorm(nn.Module):
    """Global Response Normalization, ``γ · (x · N(G(x))) + β + x``.

    ``G`` is the L2 norm of each channel over the map and ``N`` divides it by its mean over the
    channels. For float16 and bfloat16 the norm is computed in float32, because a sum of squares
    would overflow or lose precision.

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
    """Drop whole residual branches at random, sample by sample, in training.

    A sample's branch is zeroed with probability ``p`` and otherwise divided by ``1 - p``, which
    preserves its expectation. In eval mode it is the identity.

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
        """Return whether branches may be dropped: in training, with ``p`` above 0."""
        return self.training and self.p > 0

    def factor(self, x: Tensor) -> Tensor:
        """Draw the factor on the branch of each sample, on the device of ``x``.

        Shapes: (N, ...) → (N, 1, ...), same dtype.
        """
        kept = self.draw(x.shape[0], x.device).to(x.dtype).div_(1 - self.p)
        return kept.view(-1, *(1 for _ in x.shape[1:]))

    def draw(self, samples: int, device: torch.device | str = 'cpu') -> Tensor:
        """Draw 1 for each sample whose branch is kept and 0 for each that is dropped.

        Shapes: → (samples,), float32.
        """
        return torch.empty(samples, device=device).bernoulli_(1 - self.p)

    def extra_repr(self) -> str:
        return f'p={self.p:g}'
