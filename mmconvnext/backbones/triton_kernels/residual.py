"""The end of a block, ``x + branch · scale``, and the start of its backward pass.

The scale is stochastic depth's factor of each sample, times layer scale if that is separate.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmconvnext.backbones.triton_kernels.sizes import cdiv

# Pixels and channels of a tile, and tiles of a program.
_ROWS = 32
_COLUMNS = 64
_TIMES = 8


def add(
    x: Tensor, branch: Tensor, factor: Tensor | None, gamma: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Return ``x + branch · scale`` in a dtype.

    Shapes: x and branch (N, H, W, C), contiguous; factor (N, 1, 1, 1), gamma (C,) → (N, H, W, C).
    """
    out = torch.empty_like(x, dtype=dtype)
    any_one = out if factor is None else factor
    add_scaled[_grid(x)](
        *(x, branch, any_one, gamma if gamma is not None else any_one, out, _pixels(x)),
        *(x.shape[-1], factor is not None, gamma is not None, _ROWS, _COLUMNS, _TIMES),
    )
    return out


def backward(
    grad: Tensor, branch: Tensor, factor: Tensor | None, gamma: Tensor | None, low: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the branch in a dtype, and sums over pixels, (parts, 2, C).

    The sums are those of this gradient and those for gamma's gradient. Without gamma the branch is
    not read, and may be any tensor.
    """
    out = torch.empty_like(grad, dtype=low)
    grid = _grid(grad)
    sums = grad.new_empty((grid[0] * grid[2], 2, grad.shape[-1]), dtype=torch.float32)
    any_one = out if factor is None else factor
    scale_and_sum[grid](
        *(grad, branch, any_one, gamma if gamma is not None else any_one, out, sums, _pixels(grad)),
        *(grad.shape[-1], factor is not None, gamma is not None, _ROWS, _COLUMNS, _TIMES),
    )
    return out, sums


def _pixels(x: Tensor) -> int:
    return x.shape[1] * x.shape[2]


def _grid(x: Tensor) -> tuple[int, int, int]:
    return (
        cdiv(_pixels(x), _ROWS * _TIMES),
        cdiv(x.shape[-1], _COLUMNS),
        len(x),
    )


@triton.jit(do_not_specialize=['pixels'])
def add_scaled(
    x: tl.tensor,  # (N, pixels, channels)
    branch: tl.tensor,  # (N, pixels, channels)
    factor: tl.tensor,  # (N,)
    gamma: tl.tensor,  # (channels,)
    out: tl.tensor,  # (N, pixels, channels)
    pixels: tl.tensor,
    channels: tl.tensor,
    with_factor: tl.constexpr,
    with_gamma: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """Process some pixels of a sample, and a block of channels."""
    sample = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * columns + tl.arange(0, columns)
    known = channel < channels
    for time in range(times):
        pixel = (tl.program_id(0) * times + time) * rows + tl.arange(0, rows)
        places = (sample * pixels + pixel)[:, None] * channels + channel[None, :]
        mask = (pixel < pixels)[:, None] & known[None, :]
        value = tl.load(branch + places, mask=mask, other=0.0).to(tl.float32)
        if with_gamma:
            value *= tl.load(gamma + channel, mask=known, other=0.0).to(tl.float32)[None, :]
        if with_factor:
            value *= tl.load(factor + sample).to(tl.float32)
        value += tl.load(x + places, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + places, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['pixels'])
def scale_and_sum(
    grad: tl.tensor,  # (N, pixels, channels)
    branch: tl.tensor,  # (N, pixels, channels)
    factor: tl.tensor,  # (N,)
    gamma: tl.tensor,  # (channels,)
    out: tl.tensor,  # (N, pixels, channels)
    sums: tl.tensor,  # (bands, N, 2, channels)
    pixels: tl.tensor,
    channels: tl.tensor,
    with_factor: tl.constexpr,
    with_gamma: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """Process some pixels of a sample, and a block of channels."""
    sample = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * columns + tl.arange(0, columns)
    known = channel < channels
    total = tl.zeros((rows, columns), tl.float32)
    along = tl.zeros((rows, columns), tl.float32)
    for time in range(times):
        pixel = (tl.program_id(0) * times + time) * rows + tl.arange(0, rows)
        places = (sample * pixels + pixel)[:, None] * channels + channel[None, :]
        mask = (pixel < pixels)[:, None] & known[None, :]
        value = tl.load(grad + places, mask=mask, other=0.0).to(tl.float32)
        if with_factor:
            value *= tl.load(factor + sample).to(tl.float32)
        if with_gamma:
            along += value * tl.load(branch + places, mask=mask, other=0.0).to(tl.float32)
            value *= tl.load(gamma + channel, mask=known, other=0.0).to(tl.float32)[None, :]
        total += value
        tl.store(out + places, value.to(out.dtype.element_ty), mask=mask)
    to = sums + ((tl.program_id(0) * tl.num_programs(2) + sample) * 2) * channels + channel
    tl.store(to, tl.sum(total, 0), mask=known)
    tl.store(to + channels, tl.sum(along, 0), mask=known)
