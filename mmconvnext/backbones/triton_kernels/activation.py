"""GELU and Global Response Normalization (GRN), which come between the two linear layers.

Each function is a pass over memory. GELU is computed again wherever its result is read, and sums
over pixels, for the gradient of a bias and for GRN, are taken in the pass that reads what they are
of. Sums are float32, in the same order at each call. Maps are (N, H, W, C), contiguous.

Source of GRN: Woo et al., ConvNeXt V2 (arXiv 2301.00808), section 4.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmconvnext.backbones.triton_kernels.sizes import cdiv, next_power_of_2

# Rows and columns of a program's tile, and the number of tiles of a program.
_ROWS = 16
_COLUMNS = 128
_TIMES = 16


class Response(NamedTuple):
    """GRN of a map: norms over pixels, and factors of the channels; (N, C), float32."""

    norms: Tensor
    factor: Tensor

    @classmethod
    def of(cls, before: Tensor, gamma: Tensor, eps: float) -> 'Response':
        """Return the response of GELU of a map."""
        sums = _sums(before)
        samples, bands, columns = sums.shape
        norms, factor = sums.new_empty((2, samples, columns))
        block = next_power_of_2(columns)
        respond[(samples,)](sums, gamma, norms, factor, eps, bands, columns, block, num_warps=8)
        return cls(norms, factor)

    def backward(
        self, before: Tensor, grad: Tensor, gamma: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """Return how much of each value is added to its gradient, (N, C), and γ's gradient.

        ``grad`` is the gradient of what GRN made of GELU of ``before``.
        """
        sums = _sums(before, grad)
        samples, bands, columns = sums.shape
        along, of_gamma = sums.new_empty((2, samples, columns))
        block = next_power_of_2(columns)
        respond_backward[(samples,)](
            *(sums, self.norms, gamma, along, of_gamma, eps, bands, columns, block), num_warps=8
        )
        return along, of_gamma.sum(0)


def activated(before: Tensor, response: Response, out: Tensor) -> Tensor:
    """Return GELU of a map, and GRN of that without its shift, in ``out``."""
    samples, height, width, columns = before.shape
    activate[_grid(before, samples)](
        *(before, response.factor, out, height * width, columns, _ROWS, _COLUMNS, _TIMES)
    )
    return out


def activation_gradient(
    grad: Tensor, before: Tensor, response: Response | None, along: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Replace a gradient by that of GELU's input; return its sums too, (parts, C).

    With GRN the gradient of GELU's result is ``grad · factor + gelu · along``.
    """
    samples = len(grad) if response else 1
    columns = grad.shape[-1]
    grid = _grid(grad, samples)
    sums = torch.empty((samples * grid[0], columns), dtype=torch.float32, device=grad.device)
    factors = (response.factor, along) if response else (sums, sums)
    gelu_backward[grid](
        *(grad, before, *factors, sums, grad.numel() // columns // samples, columns),
        *(response is not None, _ROWS, _COLUMNS, _TIMES),
    )
    return grad, sums


def _sums(before: Tensor, other: Tensor | None = None) -> Tensor:
    """Return sums over bands of pixels, (N, bands, C): GELU squared, or GELU times another map."""
    samples, height, width, columns = before.shape
    grid = _grid(before, samples)
    sums = torch.empty((samples, grid[0], columns), dtype=torch.float32, device=before.device)
    both = other is not None
    sum_products[grid](
        *(before, other if both else before, sums, height * width, columns),
        *(both, _ROWS, _COLUMNS, _TIMES),
    )
    return sums


def _grid(x: Tensor, samples: int) -> tuple[int, int, int]:
    """Return a grid: bands of rows, blocks of columns, samples; ``samples=1`` merges them."""
    rows = x.numel() // x.shape[-1] // samples
    return cdiv(rows, _ROWS * _TIMES), cdiv(x.shape[-1], _COLUMNS), samples


@triton.jit
def _normal(x: tl.tensor) -> tl.tensor:
    """The standard normal distribution function, within 1e-7.

    Source: Abramowitz and Stegun, formula 7.1.26, of x / √2. GELU is x times that. It takes fewer
    instructions than an exact one, for which these kernels would wait.
    """
    size = tl.abs(x)
    t = 1.0 / (1.0 + 0.2316418881914061 * size)
    tail = 0.7107068705 + t * (-0.7265760135 + t * 0.5307027145)
    tail = t * (0.127414796 + t * (-0.142248368 + t * tail))
    tail *= tl.exp2(size * size * -0.7213475204444817)
    return tl.where(x >= 0, 1.0 - tail, tail)


@triton.jit
def _density(x: tl.tensor) -> tl.tensor:
    return tl.exp2(x * x * -0.7213475204444817) * 0.3989422804014327


@triton.jit(do_not_specialize=['rows'])
def activate(
    before: tl.tensor,  # (samples, rows, columns)
    factor: tl.tensor,  # (samples, columns)
    out: tl.tensor,  # (samples, rows, columns)
    rows: tl.tensor,
    columns: tl.tensor,
    height: tl.constexpr,
    width: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """GELU, times a factor; rounded once."""
    sample = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * width + tl.arange(0, width)
    known = column < columns
    scale = tl.load(factor + sample * columns + column, mask=known, other=0.0)[None, :]
    for time in range(times):
        row = (tl.program_id(0) * times + time) * height + tl.arange(0, height)
        places = (sample * rows + row)[:, None] * columns + column[None, :]
        mask = (row < rows)[:, None] & known[None, :]
        x = tl.load(before + places, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + places, (x * _normal(x) * scale).to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['rows'])
def sum_products(
    before: tl.tensor,  # (samples, rows, columns)
    other: tl.tensor,  # (samples, rows, columns)
    sums: tl.tensor,  # (samples, bands, columns)
    rows: tl.tensor,
    columns: tl.tensor,
    both: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """Sums over a band of rows of GELU times itself, or times the other map."""
    sample = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * width + tl.arange(0, width)
    known = column < columns
    total = tl.zeros((height, width), tl.float32)
    for time in range(times):
        row = (tl.program_id(0) * times + time) * height + tl.arange(0, height)
        places = (sample * rows + row)[:, None] * columns + column[None, :]
        mask = (row < rows)[:, None] & known[None, :]
        x = tl.load(before + places, mask=mask, other=0.0).to(tl.float32)
        gelu = x * _normal(x)
        if both:
            total += gelu * tl.load(other + places, mask=mask, other=0.0).to(tl.float32)
        else:
            total += gelu * gelu
    to = sums + (sample * tl.num_programs(0) + tl.program_id(0)) * columns + column
    tl.store(to, tl.sum(total, 0), mask=known)


@triton.jit(do_not_specialize=['rows'])
def gelu_backward(
    grad: tl.tensor,  # (samples, rows, columns), and the result
    before: tl.tensor,  # (samples, rows, columns)
    factor: tl.tensor,  # (samples, columns)
    along: tl.tensor,  # (samples, columns)
    sums: tl.tensor,  # (samples, bands, columns)
    rows: tl.tensor,
    columns: tl.tensor,
    with_grn: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    times: tl.constexpr,
) -> None:
    """(g · factor + gelu · along) · gelu', and its sums over a band of rows."""
    sample = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * width + tl.arange(0, width)
    known = column < columns
    if with_grn:
        scale = tl.load(factor + sample * columns + column, mask=known, other=0.0)[None, :]
        more = tl.load(along + sample * columns + column, mask=known, other=0.0)[None, :]
    total = tl.zeros((height, width), tl.float32)
    for time in range(times):
        row = (tl.program_id(0) * times + time) * height + tl.arange(0, height)
        places = (sample * rows + row)[:, None] * columns + column[None, :]
        mask = (row < rows)[:, None] & known[None, :]
        x = tl.load(before + places, mask=mask, other=0.0).to(tl.float32)
        g = tl.load(grad + places, mask=mask, other=0.0).to(tl.float32)
        share = _normal(x)
        if with_grn:
            g = g * scale + x * share * more
        g *= share + x * _density(x)
        total += g
        tl.store(grad + places, g.to(grad.dtype.element_ty), mask=mask)
    to = sums + (sample * tl.num_programs(0) + tl.program_id(0)) * columns + column
    tl.store(to, tl.sum(total, 0), mask=known)


@triton.jit(do_not_specialize=['bands'])
def respond(
    sums: tl.tensor,  # (samples, bands, columns), of squares
    gamma: tl.tensor,  # (columns,)
    norms: tl.tensor,  # (samples, columns)
    factor: tl.tensor,  # (samples, columns)
    eps: tl.tensor,
    bands: tl.tensor,
    columns: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """A sample: 1 + γ · n / (mean(n) + eps), n the norms."""
    sample = tl.program_id(0)
    column = tl.arange(0, block)
    known = column < columns
    total = tl.zeros((block,), tl.float32)
    for band in range(bands):
        at = sums + (sample * bands + band) * columns + column
        total += tl.load(at, mask=known, other=0.0)
    norm = tl.sqrt(total)
    relative = norm / (tl.sum(norm, 0) / columns + eps)
    scale = 1.0 + tl.load(gamma + column, mask=known, other=0.0).to(tl.float32) * relative
    tl.store(norms + sample * columns + column, norm, mask=known)
    tl.store(factor + sample * columns + column, scale, mask=known)


@triton.jit(do_not_specialize=['bands'])
def respond_backward(
    sums: tl.tensor,  # (samples, bands, columns), of gradient × value
    norms: tl.tensor,  # (samples, columns)
    gamma: tl.tensor,  # (columns,)
    along: tl.tensor,  # (samples, columns)
    of_gamma: tl.tensor,  # (samples, columns)
    eps: tl.tensor,
    bands: tl.tensor,
    columns: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """A sample. A channel whose norm is 0 has no direction: nothing is added to its gradient."""
    sample = tl.program_id(0)
    column = tl.arange(0, block)
    known = column < columns
    of_factor = tl.zeros((block,), tl.float32)
    for band in range(bands):
        at = sums + (sample * bands + band) * columns + column
        of_factor += tl.load(at, mask=known, other=0.0)
    norm = tl.load(norms + sample * columns + column, mask=known, other=0.0)
    divisor = tl.sum(norm, 0) / columns + eps
    relative = norm / divisor
    scale = tl.load(gamma + column, mask=known, other=0.0).to(tl.float32)
    of_relative = of_factor * scale / divisor
    of_norm = of_relative - tl.sum(of_relative * relative, 0) / columns
    share = tl.where(norm > 0, of_norm / tl.where(norm > 0, norm, 1.0), 0.0)
    tl.store(along + sample * columns + column, share, mask=known)
    tl.store(of_gamma + sample * columns + column, of_factor * relative, mask=known)
