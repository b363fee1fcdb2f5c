"""Depthwise 7×7 convolution, bias and LayerNorm in one pass over memory, and the backward pass.

Maps are (N, H, W, C), contiguous. Sums and statistics are float32.

A program computes a strip of pixels of one row. For each of seven rows it loads every pixel that
the strip sees once and adds it to all of the strip's sums, which stay in registers: 14 loads make
56 products. What is saved for the backward pass is the result, which the next layer keeps anyway,
and one float32 value a pixel; the convolution's output is never stored. The gradient of the
weight is cuDNN's, which was faster than kernels of ours (benchmarks/gpu.md).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmconvnext.backbones.triton_kernels.sizes import cdiv, next_power_of_2

# Pixels of a strip, and channels of a program that does not need all of them.
_STRIP = tl.constexpr(8)
_BLOCK = 64
# Values in a tile of the norm's backward pass, and tiles of a program.
_TILE = 4096
_TIMES = 8
SIZES = ['height', 'width', 'pixels']


def depthwise_norm(
    x: Tensor, taps: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the depthwise convolution of ``x``, normalised by LayerNorm without its affine part.

    Shapes: x (N, H, W, C), contiguous; taps (49, C), bias (C,) → (N, H, W, C) in the dtype of the
    taps, the reciprocal deviations (N, H, W) in float32, and ``x`` in the dtype of the taps.
    Padding is 3 zeros.
    """
    samples, height, width, channels = x.shape
    out = torch.empty_like(x, dtype=taps.dtype)
    copies = x.dtype != taps.dtype
    low = torch.empty_like(out) if copies else x
    rstd = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    block = next_power_of_2(channels)
    grid = (samples * height * cdiv(width, _STRIP.value),)
    warps = min(max(block // 256, 1), 16)
    convolve_and_normalize[grid](
        *(x, taps, bias, out, rstd, low, eps, height, width, channels, copies, block),
        num_warps=warps,
    )
    return out, rstd, low


def norm_gradient(grad: Tensor, normed: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of LayerNorm's input, (N, H, W, C), and its sums, (parts, C)."""
    channels = grad.shape[-1]
    pixels, block = grad.numel() // channels, next_power_of_2(channels)
    rows = max(_TILE // block, 1)
    programs = cdiv(pixels, rows * _TIMES)
    out, sums = torch.empty_like(grad), rstd.new_empty((programs, channels))
    normalize_backward[(programs,)](
        *(grad, normed, rstd, out, sums, pixels, channels, block, rows, _TIMES)
    )
    return out, sums


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of the convolution's weight, (C, 1, 7, 7), in the dtype of ``x``."""
    channels = x.shape[-1]
    geometry = ([1, 1], [3, 3], [1, 1], False, [0, 0], channels)
    weight = x.new_empty((channels, 1, 7, 7))  # only its shape matters
    maps = (y.permute(0, 3, 1, 2) for y in (grad, x))
    backward = torch.ops.aten.convolution_backward
    return backward(*maps, weight, None, *geometry, [False, True, False])[1]


def input_gradient(grad: Tensor, taps: Tensor, residual: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``residual`` plus the convolution of ``grad`` with the flipped kernel."""
    samples, height, width, channels = grad.shape
    out = torch.empty_like(grad, dtype=dtype)
    strip = 16 if width > 8 else 8
    grid = (samples * height * cdiv(width, strip), cdiv(channels, _BLOCK))
    convolve_turned[grid](
        *(grad, taps, residual, out, height, width, channels, _BLOCK, strip), num_warps=1
    )
    return out


@triton.jit
def _row(
    sums: tl.tuple,
    x: tl.tensor,
    taps: tl.tensor,
    down: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channel: tl.tensor,
    channels: tl.tensor,
    strip: tl.constexpr,
    turned: tl.constexpr,
) -> tl.tuple:
    """Add the products of one kernel row to the sums of a strip, one sum for each pixel."""
    known = channel < channels
    inside = (row % height + down >= 3) & (row % height + down < height + 3)
    weights = ()
    for right in tl.static_range(7):
        tap = (6 - down) * 7 + 6 - right if turned else down * 7 + right
        weights += (tl.load(taps + tap * channels + channel, mask=known, other=0.0),)
    here = x + ((row + down - 3).to(tl.int64) * width + column - 3) * channels + channel
    for place in tl.static_range(strip + 6):
        at = column + place - 3
        mask = (inside & (at >= 0) & (at < width)) & known
        value = tl.load(here + place * channels, mask=mask, other=0.0).to(tl.float32)
        added = ()
        for pixel in tl.static_range(strip):
            if place >= pixel and place < pixel + 7:
                weight = weights[place - pixel].to(tl.float32)
                added += (sums[pixel] + value * weight,)
            else:
                added += (sums[pixel],)
        sums = added
    return sums


@triton.jit(do_not_specialize=SIZES)
def convolve_and_normalize(
    x: tl.tensor,  # (N, height, width, channels)
    taps: tl.tensor,  # (49, channels)
    bias: tl.tensor,  # (channels,)
    out: tl.tensor,  # as x
    rstd: tl.tensor,  # (N, height, width)
    low: tl.tensor,  # as x
    eps: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.constexpr,
    copies: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Process all channels of a strip."""
    channel = tl.arange(0, block)
    known = channel < channels
    strips = tl.cdiv(width, _STRIP)
    column = tl.program_id(0) % strips * _STRIP
    row = tl.program_id(0) // strips
    sums = (tl.zeros((block,), tl.float32),) * _STRIP
    for down in range(7):
        sums = _row(
            sums, x, taps, down, row, column, height, width, channel, channels, _STRIP, False
        )
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    first = row.to(tl.int64) * width + column
    for pixel in tl.static_range(_STRIP):
        value = sums[pixel] + shift
        value = tl.where(known, value - tl.sum(value, 0) / channels, 0.0)
        scale = tl.rsqrt(tl.sum(value * value, 0) / channels + eps)
        in_map = column + pixel < width
        tl.store(rstd + first + pixel, scale, mask=in_map)
        places = (first + pixel) * channels + channel
        tl.store(out + places, (value * scale).to(out.dtype.element_ty), mask=in_map & known)
        if copies:
            value = tl.load(x + places, mask=in_map & known, other=0.0)
            tl.store(low + places, value.to(low.dtype.element_ty), mask=in_map & known)


@triton.jit(do_not_specialize=SIZES)
def normalize_backward(
    grad: tl.tensor,  # (pixels, channels)
    normed: tl.tensor,  # (pixels, channels)
    rstd: tl.tensor,  # (pixels,)
    out: tl.tensor,  # (pixels, channels)
    sums: tl.tensor,  # (programs, channels)
    pixels: tl.tensor,
    channels: tl.constexpr,
    block: tl.constexpr,
    rows: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """All channels of some pixels: rstd · (g - mean(g) - y · mean(g · y)), and its sums."""
    channel = tl.arange(0, block)
    known = (channel < channels)[None, :]
    total = tl.zeros((rows, block), tl.float32)
    for time in range(times):
        pixel = (tl.program_id(0) * times + time) * rows + tl.arange(0, rows)
        places = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        mask = (pixel < pixels)[:, None] & known
        g = tl.load(grad + places, mask=mask, other=0.0).to(tl.float32)
        y = tl.load(normed + places, mask=mask, other=0.0).to(tl.float32)
        along = tl.sum(g * y, 1) / channels
        scale = tl.load(rstd + pixel, mask=pixel < pixels, other=0.0)
        result = (g - (tl.sum(g, 1) / channels)[:, None] - y * along[:, None]) * scale[:, None]
        total += tl.where(mask, result, 0.0)
        tl.store(out + places, result.to(out.dtype.element_ty), mask=mask)
    to = sums + tl.program_id(0) * channels + channel
    tl.store(to, tl.sum(total, 0), mask=channel < channels)


@triton.jit(do_not_specialize=SIZES)
def convolve_turned(
    x: tl.tensor,  # (N, height, width, channels)
    taps: tl.tensor,  # (49, channels)
    residual: tl.tensor,  # as x
    out: tl.tensor,  # as x
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.tensor,
    block: tl.constexpr,
    strip: tl.constexpr,
) -> None:
    """Process a block of channels of a strip."""
    channel = tl.program_id(1) * block + tl.arange(0, block)
    strips = tl.cdiv(width, strip)
    column = tl.program_id(0) % strips * strip
    row = tl.program_id(0) // strips
    sums = (tl.zeros((block,), tl.float32),) * strip
    for down in range(7):
        sums = _row(sums, x, taps, down, row, column, height, width, channel, channels, strip, True)
    first = row.to(tl.int64) * width + column
    for pixel in tl.static_range(strip):
        mask = (column + pixel < width) & (channel < channels)
        places = (first + pixel) * channels + channel
        value = sums[pixel] + tl.load(residual + places, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + places, value.to(out.dtype.element_ty), mask=mask)
