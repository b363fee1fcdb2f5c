"""Global Response Normalization (GRN) without its shift: two passes forward, two backward.

Maps are (N, H, W, C), contiguous, in float32, bfloat16 or float16. Norms and sums are float32, and
taken in the same order at each call.

Source: Woo et al., ConvNeXt V2 (arXiv 2301.00808), section 4.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mmconvnext.backbones.triton_kernels.tiles import CONFIGS, SIZES, channel_block, pixels_of

# Pixels that one program sums over, a multiple of what it takes at a time. The partial sums are
# less than a hundredth of what is read.
_BAND = 256


def respond(x: Tensor, gamma: Tensor, eps: float) -> Tensor:
    """Return ``x · (1 + γ · N(G(x)))``.

    G takes norms over a sample's pixels, N divides them by their mean over channels, plus eps.
    Shapes: x (N, H, W, C), contiguous; gamma (C,) → (N, H, W, C) in the dtype of ``x``.
    Differentiable once.
    """
    return _respond(x, gamma, eps)[0]


@triton_op('mmconvnext::respond', mutates_args=())
def _respond(x: Tensor, gamma: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return also the norms, (N, C) in float32."""
    norms = _summed(x, x).sqrt()
    return _scaled(x, _response(norms, gamma, eps)), norms


@triton_op('mmconvnext::respond_backward', mutates_args=())
def _respond_backward(
    grad: Tensor, x: Tensor, norms: Tensor, gamma: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x (N, H, W, C) and gamma (C,), the latter in float32."""
    divisor = norms.mean(-1, keepdim=True) + eps
    relative = norms / divisor
    of_response = _summed(grad, x)
    of_relative = of_response * gamma / divisor
    of_norms = of_relative - (of_relative * relative).mean(-1, keepdim=True)
    of_norms = torch.where(norms > 0, of_norms / norms, 0)
    of_x = _scaled(grad, _response(norms, gamma, eps), x, of_norms)
    return of_x, (of_response * relative).sum(0)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
    x, gamma, ctx.eps = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, gamma, output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
    x, gamma, norms = ctx.saved_tensors
    of_x, of_gamma = _respond_backward(grad.contiguous(), x, norms, gamma, ctx.eps)
    return of_x, of_gamma.to(gamma.dtype), None


_respond.register_autograd(_backward, setup_context=_keep)


def _response(norms: Tensor, gamma: Tensor, eps: float) -> Tensor:
    return 1 + gamma.float() * (norms / (norms.mean(-1, keepdim=True) + eps))


def _summed(a: Tensor, b: Tensor) -> Tensor:
    """Sums of a × b over each sample's pixels: (N, H, W, C) → (N, C) in float32."""
    samples, height, width, channels = a.shape
    pixels, block = height * width, channel_block(channels)
    bands = triton.cdiv(pixels, _BAND)
    partial = a.new_empty((samples, bands, channels), dtype=torch.float32)
    grid = (bands, triton.cdiv(channels, block), samples)
    wrap_triton(sum_products)[grid](a, b, partial, pixels, bands, channels, _BAND, block)
    return partial.sum(1)


def _scaled(
    a: Tensor, factor: Tensor, b: Tensor | None = None, b_factor: Tensor | None = None
) -> Tensor:
    """``a · factor (+ b · b_factor)``: maps (N, H, W, C), factors (N, C) in float32."""
    samples, height, width, channels = a.shape
    pixels, block = height * width, channel_block(channels)
    out = torch.empty_like(a)

    def grid(meta: dict[str, int]) -> tuple[int, int, int]:
        tiles = triton.cdiv(pixels, pixels_of(meta['tile'], block))
        return tiles, triton.cdiv(channels, block), samples

    both = b is not None
    b, b_factor = (b, b_factor) if both else (a, factor)
    wrap_triton(scale)[grid](a, factor, b, b_factor, out, pixels, channels, both, block)
    return out


@triton.autotune(CONFIGS, key=['channels'])
@triton.jit(do_not_specialize=SIZES)
def sum_products(
    a: tl.tensor,  # (samples, pixels, channels)
    b: tl.tensor,  # (samples, pixels, channels)
    partial: tl.tensor,  # (samples, bands, channels)
    pixels: tl.tensor,
    bands: tl.tensor,
    channels: tl.constexpr,
    band: tl.constexpr,
    block: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """A band of a sample's pixels, a block of channels."""
    count: tl.constexpr = tile // block  # pixels at a time
    channel = tl.program_id(1) * block + tl.arange(0, block)
    known = channel < channels
    sample = tl.program_id(2).to(tl.int64)
    total = tl.zeros((count, block), tl.float32)
    start = tl.program_id(0) * band
    for first in range(start, tl.minimum(start + band, pixels), count):
        pixel = first + tl.arange(0, count)
        places = (sample * pixels + pixel)[:, None] * channels + channel[None, :]
        mask = (pixel < pixels)[:, None] & known[None, :]
        a_values = tl.load(a + places, mask=mask, other=0.0).to(tl.float32)
        total += a_values * tl.load(b + places, mask=mask, other=0.0).to(tl.float32)
    place = (sample * bands + tl.program_id(0)) * channels + channel
    tl.store(partial + place, tl.sum(total, 0), mask=known)


@triton.autotune(CONFIGS, key=['channels', 'both'])
@triton.jit(do_not_specialize=SIZES)
def scale(
    a: tl.tensor,  # (samples, pixels, channels)
    factor: tl.tensor,  # (samples, channels)
    b: tl.tensor,  # (samples, pixels, channels)
    b_factor: tl.tensor,  # (samples, channels)
    out: tl.tensor,  # (samples, pixels, channels)
    pixels: tl.tensor,
    channels: tl.constexpr,
    both: tl.constexpr,
    block: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """Some of a sample's pixels, a block of channels; rounded once."""
    count: tl.constexpr = tile // block
    pixel = tl.program_id(0) * count + tl.arange(0, count)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    known = channel < channels
    sample = tl.program_id(2).to(tl.int64)
    places = (sample * pixels + pixel)[:, None] * channels + channel[None, :]
    mask = (pixel < pixels)[:, None] & known[None, :]
    factors = sample * channels + channel
    values = tl.load(a + places, mask=mask, other=0.0).to(tl.float32)
    values *= tl.load(factor + factors, mask=known, other=0.0)[None, :]
    if both:
        others = tl.load(b + places, mask=mask, other=0.0).to(tl.float32)
        values += others * tl.load(b_factor + factors, mask=known, other=0.0)[None, :]
    tl.store(out + places, values.to(out.dtype.element_ty), mask=mask)
