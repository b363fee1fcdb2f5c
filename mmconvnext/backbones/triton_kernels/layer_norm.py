"""LayerNorm over the channels of contiguous maps (…, C): one pass forward, one backward.

torch's kernel uses a block of threads for each row; 96 channels fill only a few of them.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.triton_kernels.sizes import cdiv, next_power_of_2

# Values in a tile, and tiles of a program.
_TILE = 4096
_TIMES = 8


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return LayerNorm in the dtype of ``x``, with statistics in float32.

    Shapes: x (…, C), contiguous; weight and bias (C,) → (…, C). Differentiable once.
    """
    return _LayerNorm.apply(x, weight, bias, eps)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        out = torch.empty_like(x)
        statistics = x.new_empty((2, *x.shape[:-1]), dtype=torch.float32)
        with torch.cuda.device_of(x):
            layer_norm_forward[(_programs(x),)](x, weight, bias, out, *statistics, eps, *_sizes(x))
        ctx.save_for_backward(x, weight, statistics)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, statistics = ctx.saved_tensors
        of_x, sums = torch.empty_like(x), statistics.new_empty((_programs(x), 2, x.shape[-1]))
        with torch.cuda.device_of(x):
            layer_norm_backward[(_programs(x),)](
                grad.contiguous(), x, weight, *statistics, of_x, sums, *_sizes(x)
            )
        of_weight, of_bias = sums.sum(0).to(weight.dtype)
        return of_x, of_weight, of_bias, None


def _rows(x: Tensor) -> int:
    return max(_TILE // next_power_of_2(x.shape[-1]), 1)


def _programs(x: Tensor) -> int:
    return cdiv(x.numel() // x.shape[-1], _rows(x) * _TIMES)


def _sizes(x: Tensor) -> tuple[int, int, int, int, int]:
    channels = x.shape[-1]
    block = next_power_of_2(channels)
    return x.numel() // channels, channels, block, _rows(x), _TIMES


@triton.jit(do_not_specialize=['pixels'])
def layer_norm_forward(
    x: tl.tensor,  # (pixels, channels)
    weight: tl.tensor,  # (channels,)
    bias: tl.tensor,  # (channels,)
    out: tl.tensor,  # (pixels, channels)
    mean: tl.tensor,  # (pixels,)
    rstd: tl.tensor,  # (pixels,)
    eps: tl.tensor,
    pixels: tl.tensor,
    channels: tl.constexpr,
    block: tl.constexpr,
    rows: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """All channels of some pixels."""
    channel = tl.arange(0, block)
    known = channel < channels
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    for time in range(times):
        pixel = (tl.program_id(0) * times + time) * rows + tl.arange(0, rows)
        places = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        in_map = pixel < pixels
        mask = in_map[:, None] & known[None, :]
        value = tl.load(x + places, mask=mask, other=0.0).to(tl.float32)
        centre = tl.sum(value, 1) / channels
        value = tl.where(known[None, :], value - centre[:, None], 0.0)
        inverse = tl.rsqrt(tl.sum(value * value, 1) / channels + eps)
        tl.store(mean + pixel, centre, mask=in_map)
        tl.store(rstd + pixel, inverse, mask=in_map)
        result = value * inverse[:, None] * scale + shift
        tl.store(out + places, result.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['pixels'])
def layer_norm_backward(
    grad: tl.tensor,  # (pixels, channels)
    x: tl.tensor,  # (pixels, channels)
    weight: tl.tensor,  # (channels,)
    mean: tl.tensor,  # (pixels,)
    rstd: tl.tensor,  # (pixels,)
    out: tl.tensor,  # (pixels, channels)
    sums: tl.tensor,  # (programs, 2, channels)
    pixels: tl.tensor,
    channels: tl.constexpr,
    block: tl.constexpr,
    rows: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """All channels of some pixels, and the sums over them of the affine part's gradients."""
    channel = tl.arange(0, block)
    known = channel < channels
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    of_weight = tl.zeros((rows, block), tl.float32)
    of_bias = tl.zeros((rows, block), tl.float32)
    for time in range(times):
        pixel = (tl.program_id(0) * times + time) * rows + tl.arange(0, rows)
        places = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        in_map = pixel < pixels
        mask = in_map[:, None] & known[None, :]
        g = tl.load(grad + places, mask=mask, other=0.0).to(tl.float32)
        centre = tl.load(mean + pixel, mask=in_map, other=0.0)[:, None]
        inverse = tl.load(rstd + pixel, mask=in_map, other=0.0)[:, None]
        y = (tl.load(x + places, mask=mask, other=0.0).to(tl.float32) - centre) * inverse
        y = tl.where(mask, y, 0.0)
        of_weight += g * y
        of_bias += g
        g *= scale
        along = tl.sum(g * y, 1) / channels
        result = (g - (tl.sum(g, 1) / channels)[:, None] - y * along[:, None]) * inverse
        tl.store(out + places, result.to(out.dtype.element_ty), mask=mask)
    to = sums + tl.program_id(0) * 2 * channels + channel
    tl.store(to, tl.sum(of_weight, 0), mask=known)
    tl.store(to + channels, tl.sum(of_bias, 0), mask=known)
