"""Depthwise 7×7 convolution, bias and LayerNorm in one pass over memory, and the backward pass.

Maps are (N, H, W, C), contiguous, in float32, bfloat16 or float16. Sums and statistics are float32.
Pixels are counted through the whole batch, so that a program's pixels may be of several rows and a
narrow map leaves no program half empty.

What is saved for the backward pass is the result itself, which the next layer keeps anyway, and one
float32 value a pixel; the convolution's output never is in memory.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mmconvnext.backbones.triton_kernels.tiles import CONFIGS, SIZES, channel_block, pixels_of

# Pixels over which a program sums a weight gradient, a multiple of what it takes at a time. The
# partial sums are a tenth of what is read.
_BAND = 1024
# 7 × 7 weights and the bias, as 7 rows of 8 places.
_PLACES = (7, 8)


@triton_op('mmconvnext::depthwise_norm', mutates_args=())
def depthwise_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return LayerNorm, without affine part, of the depthwise convolution of ``x``.

    Shapes: x (N, H, W, C), contiguous; weight (C, 1, 7, 7) and bias (C,), in the dtype of ``x`` or
    float32 → (N, H, W, C) in the dtype of ``x``, and the reciprocal deviations (N, H, W) in
    float32, which are not differentiable. Differentiable once. Padding is 3 zeros.
    """
    _, height, width, channels = x.shape
    pixels, block = x.numel() // channels, triton.next_power_of_2(channels)
    out = torch.empty_like(x)
    rstd = x.new_empty(x.shape[:-1], dtype=torch.float32)
    wrap_triton(convolve_and_normalize)[_programs(pixels, channels, block)](
        x, _taps(weight), bias, out, rstd, eps, pixels, height, width, channels, block
    )
    return out, rstd


@triton_op('mmconvnext::normalize_backward', mutates_args=())
def _normalize_backward(grad: Tensor, normed: Tensor, rstd: Tensor) -> Tensor:
    """Return the gradient of what was normalised, (N, H, W, C)."""
    channels = grad.shape[-1]
    pixels, block = grad.numel() // channels, triton.next_power_of_2(channels)
    out = torch.empty_like(normed)
    wrap_triton(normalize_backward)[_programs(pixels, channels, block)](
        grad, normed, rstd, out, pixels, channels, block
    )
    return out


@triton_op('mmconvnext::depthwise_input_gradient', mutates_args=())
def _input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Return the depthwise convolution of (N, H, W, C) with the kernel turned round."""
    _, height, width, channels = grad.shape
    pixels, block = grad.numel() // channels, channel_block(channels)
    out = torch.empty_like(grad)
    taps = _taps(weight.flip(2, 3))
    wrap_triton(convolve)[_programs(pixels, channels, block)](
        grad, taps, out, pixels, height, width, channels, block
    )
    return out


@triton_op('mmconvnext::depthwise_weight_gradient', mutates_args=())
def _weight_gradient(grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight (C, 1, 7, 7) and bias (C,), float32; the same at each call."""
    _, height, width, channels = x.shape
    pixels, block = x.numel() // channels, channel_block(channels)
    bands = triton.cdiv(pixels, _BAND)
    partial = x.new_empty((bands, *_PLACES, channels), dtype=torch.float32)
    grid = (bands, triton.cdiv(channels, block), _PLACES[0])
    wrap_triton(correlate)[grid](grad, x, partial, pixels, height, width, channels, _BAND, block)
    places = partial.sum(0)
    of_weight = places[:, :7].permute(2, 0, 1).reshape(channels, 1, 7, 7)
    return of_weight, places[0, 7].clone()


def _keep(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, _ = inputs
    normed, rstd = output
    ctx.mark_non_differentiable(rstd)
    ctx.save_for_backward(x, weight, normed, rstd)
    ctx.dtypes = weight.dtype, bias.dtype


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, normed, rstd = ctx.saved_tensors
    grad = _normalize_backward(grad.contiguous(), normed, rstd)
    of_x = _input_gradient(grad, weight) if ctx.needs_input_grad[0] else None
    of_weight = of_bias = None
    if any(ctx.needs_input_grad[1:3]):
        of_weight, of_bias = map(Tensor.to, _weight_gradient(grad, x), ctx.dtypes)
    return of_x, of_weight, of_bias, None


depthwise_norm.register_autograd(_backward, setup_context=_keep)


def _taps(weight: Tensor) -> Tensor:
    """Weights as the kernels read them: (C, 1, 7, 7) → (49, C)."""
    return weight.flatten(1).t().contiguous()


def _programs(pixels: int, channels: int, block: int) -> Callable[[dict[str, int]], tuple]:
    """The grid of kernels over tiles of pixels and blocks of channels."""
    return lambda meta: (
        triton.cdiv(pixels, pixels_of(meta['tile'], block)),
        triton.cdiv(channels, block),
    )


@triton.jit
def _pixels(block: tl.constexpr, tile: tl.constexpr) -> tl.tensor:
    count: tl.constexpr = tile // block if tile > block else 1
    return tl.program_id(0) * count + tl.arange(0, count)


@triton.jit
def _places(pixel: tl.tensor, channel: tl.tensor, channels: tl.constexpr) -> tl.tensor:
    # A batch of large maps has more than 2³¹ values.
    return pixel.to(tl.int64)[:, None] * channels + channel[None, :]


@triton.jit
def _convolved(
    x: tl.tensor,
    taps: tl.tensor,
    pixel: tl.tensor,
    channel: tl.tensor,
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.constexpr,
) -> tl.tensor:
    """The convolution at some pixels and channels, in float32."""
    column = pixel % width
    row = pixel // width % height
    known = channel < channels
    here = x + _places(pixel, channel, channels)
    total = tl.zeros((pixel.shape[0], channel.shape[0]), tl.float32)
    for down in range(-3, 4):
        in_rows = (row + down >= 0) & (row + down < height) & (pixel < pixels)
        for right in tl.static_range(-3, 4):  # seven loads at a time wait for memory
            inside = in_rows & (column + right >= 0) & (column + right < width)
            step = (down * width + right) * channels
            values = tl.load(here + step, mask=inside[:, None] & known[None, :], other=0.0)
            tap = (down + 3) * 7 + right + 3
            weight = tl.load(taps + tap * channels + channel, mask=known, other=0.0)
            total += values.to(tl.float32) * weight.to(tl.float32)[None, :]
    return total


# Tuned by the number of channels alone: sizes of maps change too often in dense prediction.
@triton.autotune(CONFIGS, key=['channels'])
@triton.jit(do_not_specialize=SIZES)
def convolve_and_normalize(
    x: tl.tensor,  # (pixels, channels)
    taps: tl.tensor,  # (49, channels)
    bias: tl.tensor,  # (channels,)
    out: tl.tensor,  # (pixels, channels)
    rstd: tl.tensor,  # (pixels,)
    eps: tl.tensor,
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.constexpr,
    block: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """All channels of some pixels."""
    pixel = _pixels(block, tile)
    channel = tl.arange(0, block)
    known = channel < channels
    values = _convolved(x, taps, pixel, channel, pixels, height, width, channels)
    values += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    mean = tl.sum(values, 1) / channels
    values = tl.where(known[None, :], values - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(values * values, 1) / channels + eps)
    values *= scale[:, None]
    in_map = pixel < pixels
    tl.store(rstd + pixel, scale, mask=in_map)
    tl.store(
        out + _places(pixel, channel, channels),
        values.to(out.dtype.element_ty),
        mask=in_map[:, None] & known[None, :],
    )


@triton.autotune(CONFIGS, key=['channels'])
@triton.jit(do_not_specialize=SIZES)
def normalize_backward(
    grad: tl.tensor,  # (pixels, channels)
    normed: tl.tensor,  # (pixels, channels)
    rstd: tl.tensor,  # (pixels,)
    out: tl.tensor,  # (pixels, channels)
    pixels: tl.tensor,
    channels: tl.constexpr,
    block: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """All channels of some pixels: rstd · (g - mean(g) - y · mean(g · y))."""
    pixel = _pixels(block, tile)
    channel = tl.arange(0, block)
    places = _places(pixel, channel, channels)
    in_map = pixel < pixels
    mask = in_map[:, None] & (channel < channels)[None, :]
    g = tl.load(grad + places, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(normed + places, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(g, 1) / channels
    along = tl.sum(g * y, 1) / channels
    scale = tl.load(rstd + pixel, mask=in_map, other=0.0)
    result = (g - mean[:, None] - y * along[:, None]) * scale[:, None]
    tl.store(out + places, result.to(out.dtype.element_ty), mask=mask)


@triton.autotune(CONFIGS, key=['channels'])
@triton.jit(do_not_specialize=SIZES)
def convolve(
    x: tl.tensor,  # (pixels, channels)
    taps: tl.tensor,  # (49, channels)
    out: tl.tensor,  # (pixels, channels)
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.constexpr,
    block: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """A block of channels of some pixels."""
    pixel = _pixels(block, tile)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    values = _convolved(x, taps, pixel, channel, pixels, height, width, channels)
    mask = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    tl.store(out + _places(pixel, channel, channels), values.to(out.dtype.element_ty), mask=mask)


@triton.autotune(CONFIGS, key=['channels'])
@triton.jit(do_not_specialize=SIZES)
def correlate(
    grad: tl.tensor,  # (pixels, channels)
    x: tl.tensor,  # (pixels, channels)
    partial: tl.tensor,  # (bands, 7, 8, channels)
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.constexpr,
    band: tl.constexpr,
    block: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """A band of pixels, a block of channels, a row of the kernel: sums of gradient × input.

    The row's eighth place sums the gradient itself, which is the bias gradient.
    """
    count: tl.constexpr = tile // (8 * block)  # pixels at a time
    channel = tl.program_id(1) * block + tl.arange(0, block)
    known = channel < channels
    right = tl.arange(0, 8)
    down = tl.program_id(2) - 3
    total = tl.zeros((count, 8, block), tl.float32)
    start = tl.program_id(0) * band
    for first in range(start, tl.minimum(start + band, pixels), count):
        pixel = first + tl.arange(0, count)
        row = pixel // width % height + down
        column = (pixel % width)[:, None] + right[None, :] - 3
        places = _places(pixel, channel, channels)
        in_map = pixel < pixels
        g = tl.load(grad + places, mask=in_map[:, None] & known[None, :], other=0.0)
        inside = (in_map & (row >= 0) & (row < height))[:, None]
        inside = inside & (column >= 0) & (column < width) & (right < 7)[None, :]
        steps = (down * width + right - 3) * channels
        values = tl.load(
            x + places[:, None, :] + steps[None, :, None],
            mask=inside[:, :, None] & known[None, None, :],
            other=0.0,
        ).to(tl.float32)
        values = tl.where((right == 7)[None, :, None], 1.0, values)
        total += g.to(tl.float32)[:, None, :] * values
    place = (tl.program_id(0) * 7 + tl.program_id(2)) * 8 + right
    tl.store(
        partial + _places(place, channel, channels),
        tl.sum(total, 0),
        mask=known[None, :],
    )
