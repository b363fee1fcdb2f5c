"""A 3 × 3 convolution of bilinearly resized maps, computed at the maps' low resolution.

Convolution is linear, and resizing treats all channels the same, so the two commute::

    conv(resize(x)) = Σ_t shift_t(resize(W_t · x)),   t over the nine taps

with shifts that fill with zeros, like the padding of the convolution. The channels are mixed at the
low resolution; resizing and shifting are then one small matrix for the rows, ``[H, 3h]``, and one
for the columns, ``[3w, W]``. For UperNet's 3 × 3 convolution of four concatenated levels at 512²
this takes 57 instead of 155 GMAC. The result equals the plain formula up to rounding.
"""

import functools
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmconvnext.segmentation.row_bands import interpolation

# Maximal rows and columns of an output tile: the matrices are dense, so larger tiles cost more per
# pixel; smaller tiles mix more source pixels twice, at their edges.
_TILE = 128
# Size of the mixed channels in memory at a time: small for a CPU's cache, large for few GPU
# kernels.
_CPU_BYTES = 12 << 20
_DEVICE_BYTES = 512 << 20


def conv_of_resized(base: Tensor, x: Tensor, weight: Tensor, align_corners: bool) -> Tensor:
    """Return ``base`` plus the 3 × 3 convolution, padded by one, of ``x`` resized to base's size.

    Shapes: base (N, K, H, W), x (N, C, h, w), weight (K, C, 3, 3) → (N, K, H, W), contiguous.
    Dtypes must be equal. ``base`` is changed in place, so its own backward pass must not need it (a
    convolution's does not). Differentiable once with respect to all three. It uses some megabytes
    of temporary memory and keeps ``x`` and ``weight`` for the backward pass.

    A map with more than half of the output's pixels is resized first, because mixing first would
    not be faster. Under ``torch.compile`` and export it is one expression of plain operations.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        # For any sizes: a condition on sizes would be fixed in an exported program.
        return base + _expression(x, weight, base.shape[-2:], align_corners)
    if 2 * x.shape[-2] * x.shape[-1] > base.shape[-2] * base.shape[-1]:
        resized = F.interpolate(x, base.shape[-2:], mode='bilinear', align_corners=align_corners)
        return base + F.conv2d(resized, weight, padding=1)
    return _ConvOfResized.apply(base, x, weight, align_corners)


def _in_few_kernels(x: Tensor) -> bool:
    """Return whether kernel launches cost more than cache misses: true except on a CPU."""
    return x.device.type != 'cpu'


def _resizing(
    source: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return linear interpolation, (target, 3 taps, source): each tap a row later, zero outside."""
    matrix = interpolation(source, target, align_corners, dtype, device).matrix().to(dtype)
    padded = F.pad(matrix, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + target] for tap in range(3)], dim=1)


def _taps_first(weight: Tensor) -> Tensor:
    """Reorder (K, C, 3, 3) → (3 columns · K · 3 rows, C)."""
    return weight.permute(3, 0, 2, 1).reshape(-1, weight.shape[1])


def _taps_last(mixing: Tensor) -> Tensor:
    """Invert :func:`_taps_first`."""
    return mixing.view(3, -1, 3, mixing.shape[1]).permute(1, 3, 2, 0)


def _expression(x: Tensor, weight: Tensor, size: torch.Size, align_corners: bool) -> Tensor:
    n, _, h, w = x.shape
    height, width = size
    rows = _resizing(h, height, align_corners, x.dtype, x.device)
    columns = _resizing(w, width, align_corners, x.dtype, x.device)
    mixed = torch.matmul(_taps_first(weight), x.flatten(2))
    mixed = mixed.view(n, 3, weight.shape[0], 3 * h, w)
    tall = torch.matmul(rows.flatten(1), mixed)
    return torch.matmul(tall, columns.permute(1, 2, 0).unsqueeze(1)).sum(1)


class _Span(NamedTuple):
    """Consecutive output rows (or columns), their source rows, and the matrix between them."""

    target: slice
    source: slice
    matrix: Tensor  # (target, 3 taps, source)


@torch.inference_mode(False)
def _spans(
    source: int,
    target: int,
    align_corners: bool,
    dtype: torch.dtype,
    device: torch.device,
    tile: int,
) -> list[_Span]:
    shifted = _resizing(source, target, align_corners, dtype, device)
    spans = []
    for first in range(0, target, tile):
        last = min(first + tile, target)
        # The taps reach one row further; the rest is interpolation, with one more row on either
        # side for rounding.
        scale = (source - 1) / max(target - 1, 1) if align_corners else source / target
        offset = 0.0 if align_corners else 0.5
        low = int((first - 1 + offset) * scale - offset) - 1
        high = int((last + offset) * scale - offset) + 3
        rows = slice(max(low, 0), min(max(high, 1), source))
        spans.append(_Span(slice(first, last), rows, shifted[first:last, :, rows]))
    return spans


_kept_spans = functools.lru_cache(256)(_spans)  # some kilobytes save a dozen kernels each


def _spans_of(x: Tensor, axis: int, target: int, align_corners: bool) -> list[_Span]:
    # Other tensor types, such as fake tensors, must not be cached.
    spans = _kept_spans if type(x) is Tensor else _spans
    return spans(x.shape[axis], target, align_corners, x.dtype, x.device, _TILE)


class _Tile(NamedTuple):
    """A part of the work: some samples, output channels, rows and columns."""

    samples: slice
    channels: slice
    rows: _Span
    columns: _Span

    def source(self, x: Tensor) -> Tensor:
        """Return its part of the low-resolution maps, (n, C, h, w), as a view."""
        return x[self.samples, :, self.rows.source, self.columns.source]

    def target(self, x: Tensor) -> Tensor:
        """Return its part of the output, (n, k, H, W), as a view."""
        return x[self.samples, self.channels, self.rows.target, self.columns.target]

    def add_resized(self, out: Tensor, mixed: Tensor) -> None:
        """Add (n, 9 · k, h · w) to ``out``, (n, k, H, W)."""
        if _in_few_kernels(out):
            self._add_at_once(out, mixed)
        else:
            self._add_by_tap(out, mixed)

    def _add_at_once(self, out: Tensor, mixed: Tensor) -> None:
        # The three taps of a row side by side, at the low resolution.
        size = (self.rows.matrix.shape[2], self.columns.matrix.shape[2])
        mixed = mixed.view(len(out), 3, out.shape[1], 3, *size).permute(0, 2, 3, 4, 1, 5)
        tall = torch.matmul(
            self.rows.matrix.flatten(1), mixed.reshape(*out.shape[:2], 3 * size[0], -1)
        )
        out += torch.matmul(tall, self.columns.matrix.flatten(1).t())

    def _add_by_tap(self, out: Tensor, mixed: Tensor) -> None:
        rows = self.rows.matrix.flatten(1)
        mixed = mixed.view(-1, rows.shape[1], self.columns.matrix.shape[2])
        tall = torch.bmm(rows.expand(len(mixed), *rows.shape), mixed)
        tall = tall.unflatten(0, (-1, 3, out.shape[1]))
        columns = self.columns.matrix.transpose(0, 2)  # (w, 3, W)
        for sample, sample_tall in zip(out, tall):
            for tap in range(3):
                widen = columns[:, tap].expand(len(sample), -1, -1)
                sample.baddbmm_(sample_tall[tap], widen)

    def resize_back(self, grad: Tensor) -> Tensor:
        """Apply the transpose: (n, k, H, W) → (n, 9 · k, h · w)."""
        if _in_few_kernels(grad):
            return self._back_at_once(grad)
        columns = self.columns.matrix
        tall = torch.stack([grad @ columns[:, tap] for tap in range(3)], dim=1).flatten(0, 2)
        rows = self.rows.matrix.flatten(1).t()
        mixed = torch.bmm(rows.expand(len(tall), *rows.shape), tall)
        return mixed.view(len(grad), 9 * grad.shape[1], -1)

    def _back_at_once(self, grad: Tensor) -> Tensor:
        size = (self.rows.matrix.shape[2], self.columns.matrix.shape[2])
        tall = torch.matmul(grad, self.columns.matrix.flatten(1))
        mixed = torch.matmul(self.rows.matrix.flatten(1).t(), tall)
        mixed = mixed.view(*grad.shape[:2], 3, size[0], 3, size[1]).permute(0, 4, 1, 2, 3, 5)
        return mixed.reshape(len(grad), 9 * grad.shape[1], -1)


def _tiles(base_shape: torch.Size, x: Tensor, align_corners: bool) -> Iterator[_Tile]:
    samples, channels, height, width = base_shape
    rows = _spans_of(x, -2, height, align_corners)
    columns = _spans_of(x, -1, width, align_corners)
    budget = _DEVICE_BYTES if _in_few_kernels(x) else _CPU_BYTES
    for row, column in product(rows, columns):
        mixed = 9 * row.matrix.shape[2] * column.matrix.shape[2]  # values of an output channel
        held = max(budget // (mixed * x.element_size()), 1)
        together = max(held // channels, 1)
        for sample, channel in product(
            range(0, samples, together), range(0, channels, min(held, channels))
        ):
            yield _Tile(
                slice(sample, sample + together), slice(channel, channel + held), row, column
            )


class _ConvOfResized(torch.autograd.Function):
    """:func:`conv_of_resized`, with the transpose as backward pass, tile by tile."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, weight: Tensor, align_corners: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.align_corners = align_corners
        ctx.mark_dirty(base)
        for tile in _tiles(base.shape, x, align_corners):
            mixed = torch.matmul(_taps_first(weight[tile.channels]), tile.source(x).flatten(2))
            tile.add_resized(tile.target(base), mixed)
        return base

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        _, needs_x, needs_weight, _ = ctx.needs_input_grad
        if not needs_x and not needs_weight:
            return grad, None, None, None
        grad_x, grad_weight = _zeros(x), _zeros(weight)
        for tile in _tiles(grad.shape, x, ctx.align_corners):
            mixed = tile.resize_back(tile.target(grad))
            source = tile.source(x)
            if needs_x:
                mixing = _taps_first(weight[tile.channels])
                tile.source(grad_x).add_(torch.matmul(mixing.t(), mixed).view_as(source))
            if needs_weight:
                change = torch.matmul(mixed, source.flatten(2).transpose(1, 2)).sum(0)
                grad_weight[tile.channels] += _taps_last(change)
        of_x = grad_x.to(x.dtype) if needs_x else None
        return grad, of_x, grad_weight.to(weight.dtype) if needs_weight else None, None


def _zeros(like: Tensor) -> Tensor:
    """Return zeros in float32 or more: a 16-bit sum over many tiles would lose precision."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.zeros(like.shape, dtype=dtype, device=like.device)
