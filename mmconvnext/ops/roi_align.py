"""RoIAlign in PyTorch, with the arguments of mmcv's compiled operators.

Bilinear sampling is separable: a bin's value is Σ_y Σ_x w_y w_x f(y, x) over the few rows and
columns around its sampling points, called taps. ``embedding_bag`` gathers them from the NHWC
feature rows. If the points of an axis are at most a pixel apart (always true for the adaptive grid
of ``sampling_ratio=0``), the 2g taps of g points fall on g + 1 pixels and are merged. The backward
pass is a gather too: the taps, sorted by pixel, collect the gradients of their bins. For a map with
few channels, the weights of bin rows and bin columns are multiplied with it as matrices.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.ops import sampling
from mmconvnext.ops.sampling import (
    Axis,
    Grid,
    Pooling,
    accumulation_dtype,
    alike,
    axis_of,
    merge_taps,
)

# With fewer channels, on a CPU, two small matrix products per RoI are faster than its taps: mask
# targets have one channel.
_FEWEST_CHANNELS = 16

# Pixels that are moved together between NCHW and NHWC: they fit into one core's cache. Copying a
# whole map at once takes twice as long.
_PIXELS_AT_A_TIME = 1024


class _Bags(NamedTuple):
    """The taps of some RoIs' bins, bin after bin, for ``embedding_bag``."""

    rois: Tensor
    pixels: Tensor  # (taps,), rows of the (N · H · W, C) feature map
    weights: Tensor  # (taps,)
    starts: Tensor  # (bins,), the first tap of each bin


@torch.compiler.disable
def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options: Any
) -> None:
    """Fill ``output`` with the RoIs' features.

    Args:
        input: (N, C, H, W), floating point; half precision is summed in float32.
        rois: (K, 5): image, x1, y1, x2, y2, in pixels of the image.
        output: (K, C, aligned_height, aligned_width), zeros, written.
        argmax_y: Written: with ``pool_mode`` 0 the row of the largest sampling point, in the shape
            of ``output``; else empty.
        argmax_x: The same for its column.
        options: All fields of :class:`~mmconvnext.ops.sampling.Pooling`.
    """
    if not input.numel() or not output.numel():
        return
    pooling = Pooling(**options)
    bins, grid = pooling.bins, pooling.grid_of(rois)
    if pooling.pool_mode == 1 and input.shape[1] < _FEWEST_CHANNELS and input.device.type == 'cpu':
        _fill_by_products(output, input, grid, bins)
        return
    rows = _rows(input)
    if pooling.pool_mode == 1:
        for bags in _bags(grid, bins, input.shape, merge=pooling.sampling_ratio <= 0):
            output[bags.rois] = _maps(_gather(rows, bags), bins).to(output.dtype)
    else:
        # mmcv's value for an empty RoI, which has no largest point.
        for target, nothing in ((output, -10000), (argmax_y, -1), (argmax_x, -1)):
            target.fill_(nothing)
        for chosen, *greatest in _greatest(rows, grid, bins, input.shape):
            for target, values in zip((output, argmax_y, argmax_x), greatest):
                target[chosen] = _maps(values, bins).to(target.dtype)


@torch.compiler.disable
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options: Any,
) -> None:
    """Fill ``grad_input``, (N, C, H, W), with the gradient; for arguments see the forward pass."""
    if not grad_output.numel() or not grad_input.numel():
        return
    pooling = Pooling(**options)
    images, channels, height, width = shape = grad_input.shape
    dtype = accumulation_dtype(grad_input)
    if pooling.pool_mode == 1:
        rows, grid = None, pooling.grid_of(rois)
        for bags in _bags(grid, pooling.bins, shape, merge=pooling.sampling_ratio <= 0):
            part = _collect(_rows(grad_output[bags.rois]), bags, images * height * width)
            rows = part if rows is None else rows.add_(part)
        if rows is None:  # all RoIs are empty
            return
    else:
        rows = torch.zeros(images * height * width, channels, dtype=dtype, device=rois.device)
        _scatter_greatest(rows, rois, argmax_y, argmax_x, grad_output.to(dtype), shape)
    pixels = rows.view(images, height * width, channels).transpose(1, 2)
    _copy_in_parts(grad_input.view(images, channels, -1), pixels)


def _rows(maps: Tensor) -> Tensor:
    """Reshape (N, C, H, W) → (N · H · W, C), contiguous, float32 or more."""
    dtype, pixels = accumulation_dtype(maps), maps.flatten(2).transpose(1, 2)
    if pixels.is_contiguous() and maps.dtype == dtype:  # already channels-last
        return pixels.flatten(0, 1)
    rows = torch.empty(pixels.shape, dtype=dtype, device=maps.device)
    _copy_in_parts(rows.transpose(1, 2), pixels.transpose(1, 2))
    return rows.flatten(0, 1)


def _copy_in_parts(target: Tensor, source: Tensor) -> None:
    """Compute ``target.copy_(source)``, both (N, C, pixels), in parts."""
    for target_part, part in zip(*(x.split(_PIXELS_AT_A_TIME, 2) for x in (target, source))):
        target_part.copy_(part)


def _maps(rows: Tensor, bins: tuple[int, int]) -> Tensor:
    """Reshape (RoIs · bins, C) → (RoIs, C, rows of bins, columns of bins)."""
    return rows.view(-1, *bins, rows.shape[1]).permute(0, 3, 1, 2)


def _bags(grid: Grid, bins: tuple[int, int], shape: torch.Size, merge: bool) -> Iterator[_Bags]:
    """Yield the taps of all RoIs, in parts of limited memory."""

    def taps_of(y: int, x: int) -> int:
        y, x = ((n + 1 if merge else 2 * n) for n in (y, x))
        taps = min(y, 2 * shape[2]) * min(x, 2 * shape[3])
        return bins[0] * bins[1] * max(taps, -(-shape[1] // sampling.FEATURES_A_TAP))

    held: list[tuple[Tensor, Tensor, Tensor]] = []
    size = 0
    for chosen, image, positions in alike(grid, bins, taps_of):
        taps = _taps(image, positions, shape, merge)
        more = len(chosen) * taps_of(*(axis.shape[2] for axis in positions))
        if held and size + more > sampling.TAPS_AT_A_TIME:
            yield _joined(held)
            held, size = [], 0
        held.append((chosen, *taps))
        size += more
    if held:
        yield _joined(held)


def _joined(held: list[tuple[Tensor, Tensor, Tensor]]) -> _Bags:
    counts = torch.cat([taps.new_full(taps.shape[:1], taps.shape[1]) for _, taps, _ in held])
    rois, pixels, weights = (torch.cat([part.flatten() for part in parts]) for parts in zip(*held))
    return _Bags(rois, pixels, weights, counts.cumsum(0) - counts)


def _taps(
    image: Tensor, positions: tuple[Tensor, Tensor], shape: torch.Size, merge: bool
) -> tuple[Tensor, Tensor]:
    """Return pixels and weights of every bin, (RoIs · bins, taps) each."""
    axes = []
    for points, length in zip(positions, shape[2:]):
        axis = axis_of(points, length)
        axes.append(merge_taps(axis, length) if merge else axis)
    y, x = axes
    lines = (image[:, None, None] * shape[2] + y.pixels) * shape[3]
    pixels = lines[:, :, None, :, None] + x.pixels[:, None, :, None, :]
    means = y.weights / (positions[0].shape[2] * positions[1].shape[2])
    weights = means[:, :, None, :, None] * x.weights[:, None, :, None, :]
    return pixels.flatten(0, 2).flatten(1), weights.flatten(0, 2).flatten(1)


def _gather(rows: Tensor, bags: _Bags) -> Tensor:
    """Return the features of the bins, (RoIs · bins, C)."""
    weights = bags.weights.to(rows.dtype)
    return F.embedding_bag(bags.pixels, rows, bags.starts, mode='sum', per_sample_weights=weights)


def _collect(grads: Tensor, bags: _Bags, pixels: int) -> Tensor:
    """Return the pixels' gradients, (pixels, C), from the bins' gradients, (RoIs · bins, C)."""
    taps = torch.arange(len(bags.pixels), device=grads.device)
    bin_of = torch.searchsorted(bags.starts, taps, right=True) - 1
    pixel, order = bags.pixels.int().sort()
    numbers = torch.arange(pixels, device=grads.device, dtype=torch.int32)
    starts, weights = torch.searchsorted(pixel, numbers), bags.weights[order].to(grads.dtype)
    return F.embedding_bag(bin_of[order], grads, starts, mode='sum', per_sample_weights=weights)


def _fill_by_products(output: Tensor, input: Tensor, grid: Grid, bins: tuple[int, int]) -> None:
    """Compute ``output[k] = Y · input · Xᵀ`` for the window of RoI k."""
    input = input.to(accumulation_dtype(input))
    for chosen, image, positions in alike(grid, bins, lambda y, x: bins[0] * y + bins[1] * x):
        matrices = map(_matrices, positions, input.shape[2:])
        for roi, n, (top, y), (left, x) in zip(chosen.tolist(), image.tolist(), *matrices):
            window = input[n, :, top : top + y.shape[1], left : left + x.shape[1]]
            output[roi] = y @ window @ x.T


def _matrices(positions: Tensor, length: int) -> Iterator[tuple[int, Tensor]]:
    """Yield for each RoI the first sampled pixel and the weights, (bins, pixels from it)."""
    axis = axis_of(positions, length)
    first, last = axis.pixels.amin((1, 2)), axis.pixels.amax((1, 2))
    pixels, weights = axis.pixels - first[:, None, None], axis.weights / positions.shape[2]
    for number, (start, end) in enumerate(zip(first.tolist(), last.tolist())):
        matrix = weights.new_zeros(len(weights[number]), end - start + 1)
        yield start, matrix.scatter_add_(1, pixels[number], weights[number].to(matrix.dtype))


def _greatest(
    rows: Tensor, grid: Grid, bins: tuple[int, int], shape: torch.Size
) -> Iterator[tuple[Tensor, ...]]:
    """Yield RoIs, and each bin's largest sampling point with its row and column, (bins, C)."""

    def taps_of(y: int, x: int) -> int:
        return bins[0] * bins[1] * y * x * shape[1]

    for chosen, image, (y, x) in alike(grid, bins, taps_of):
        size = (-1, *bins, y.shape[2], x.shape[2])
        ys = y[:, :, None, :, None].expand(size).flatten(0, 2).flatten(1)
        xs = x[:, None, :, None, :].expand(size).flatten(0, 2).flatten(1)
        image = image.repeat_interleave(bins[0] * bins[1])[:, None]
        pixels, weights = _corners(image, ys, xs, shape)
        values = F.embedding_bag(
            pixels.flatten(0, 1), rows, mode='sum', per_sample_weights=weights.flatten(0, 1)
        )
        greatest, point = values.view(*ys.shape, -1).max(1)
        yield chosen, greatest, ys.gather(1, point), xs.gather(1, point)


def _corners(image: Tensor, y: Tensor, x: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return the four pixels around each position and their weights, (…, 4)."""
    rows, columns = (
        Axis(*(values.unflatten(2, (-1, 2)) for values in axis_of(positions[None], length)))
        for positions, length in ((y, shape[2]), (x, shape[3]))
    )
    lines = (image[..., None] * shape[2] + rows.pixels[0]) * shape[3]
    pixels = lines[..., :, None] + columns.pixels[0][..., None, :]
    weights = rows.weights[0][..., :, None] * columns.weights[0][..., None, :]
    return pixels.flatten(-2), weights.flatten(-2)


def _scatter_greatest(
    rows: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grads: Tensor, shape: torch.Size
) -> None:
    """Add the gradients of the largest points, which differ by channel, to ``rows``."""
    image = rois[:, 0].long()[:, None].expand(-1, argmax_y[0].numel())
    pixels, weights = _corners(image, argmax_y.flatten(1), argmax_x.flatten(1), shape)
    channel = torch.arange(shape[1], device=rows.device)
    channel = channel.repeat_interleave(argmax_y[0, 0].numel())[:, None]
    known = (argmax_y.flatten(1) != -1)[..., None]
    values = grads.flatten(1)[..., None] * (weights * known).to(grads.dtype)
    rows.view(-1).index_add_(0, (pixels * shape[1] + channel).flatten(), values.flatten())
