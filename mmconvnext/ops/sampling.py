"""RoIAlign's sampling points, the pixels around them, and their weights.

Source: He et al., Mask R-CNN (arXiv 1703.06870), section 3; borders and grid are those of mmcv
2.1.0, mmcv/ops/csrc/pytorch/cpu/roi_align.cpp.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

#: Maximal number of taps in memory, with four times as many features of bins. A tap takes up to 40
#: bytes, including temporary values, a feature 4. Extra memory in the forward pass: an NHWC copy of
#: the feature map, 160 MiB of taps and 2 × 64 MiB of features; in the backward pass one more copy.
#: A single RoI may need more.
TAPS_AT_A_TIME = 1 << 22
FEATURES_A_TAP = 4


class Pooling(NamedTuple):
    """The options of RoIAlign, by mmcv's names."""

    aligned_height: int  # rows of bins
    aligned_width: int  # columns of bins
    spatial_scale: float  # feature-map pixels in a pixel of the image
    sampling_ratio: int  # points in a bin along each axis; 0 means ⌈size of the bin⌉
    pool_mode: int  # 0: the largest point of a bin; 1: the mean of its points
    aligned: bool  # whether pixel centres are at half-integers

    @property
    def bins(self) -> tuple[int, int]:
        return self.aligned_height, self.aligned_width

    def grid_of(self, rois: Tensor) -> 'Grid':
        """Return the sampling grids of RoIs, (RoIs, 5)."""
        dtype = accumulation_dtype(rois)
        corners = rois[:, 1:].to(dtype) * self.spatial_scale - 0.5 * self.aligned
        sizes = corners[:, 2:] - corners[:, :2]
        if not self.aligned:
            sizes = sizes.clamp(min=1.0)
        height, width = sizes[:, 1] / self.aligned_height, sizes[:, 0] / self.aligned_width
        if self.sampling_ratio > 0:
            number = torch.full_like(rois[:, 0], self.sampling_ratio, dtype=torch.long)
            points = [number, number]
        else:
            points = [size.ceil().long().clamp(min=0) for size in (height, width)]
        return Grid(rois[:, 0].long(), corners[:, 1], corners[:, 0], height, width, *points)


class Grid(NamedTuple):
    """RoIs in feature-map pixels: starts, sizes of a bin, sampling points in a bin; (RoIs,)."""

    image: Tensor
    y: Tensor
    x: Tensor
    bin_height: Tensor
    bin_width: Tensor
    points_y: Tensor
    points_x: Tensor


class Axis(NamedTuple):
    """Pixels and weights of some RoIs' bins along an axis, (RoIs, bins, taps)."""

    pixels: Tensor
    weights: Tensor


def accumulation_dtype(values: Tensor) -> torch.dtype:
    """Return the dtype for sums of these values: float32 or more."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def alike(
    grid: Grid, bins: tuple[int, int], taps_of: Callable[[int, int], int]
) -> Iterator[tuple[Tensor, Tensor, tuple[Tensor, Tensor]]]:
    """Yield RoIs with equal numbers of points, at most :data:`TAPS_AT_A_TIME` taps together.

    Yields their indices, their images, and their points' rows and columns, (RoIs, bins, points)
    each.
    """
    points = torch.stack([grid.points_y, grid.points_x], 1)
    kinds, kind_of = points.unique(dim=0, return_inverse=True)
    for number, (y, x) in enumerate(kinds.tolist()):
        if y and x:  # an empty RoI has no points; its features are zeros
            of_kind = (kind_of == number).nonzero()[:, 0]
            for chosen in of_kind.split(max(TAPS_AT_A_TIME // taps_of(y, x), 1)):
                part = Grid(*(values[chosen] for values in grid))
                rows = sample_points(part.y, part.bin_height, bins[0], y)
                columns = sample_points(part.x, part.bin_width, bins[1], x)
                yield chosen, part.image, (rows, columns)


def sample_points(start: Tensor, size: Tensor, bins: int, points: int) -> Tensor:
    """Return positions of the sampling points along an axis, (RoIs, bins, points)."""
    of_bin = torch.arange(bins, device=start.device, dtype=start.dtype)
    of_point = torch.arange(points, device=start.device, dtype=start.dtype) + 0.5
    size = size[:, None, None]
    return start[:, None, None] + of_bin[:, None] * size + of_point * size / points


def axis_of(positions: Tensor, length: int) -> Axis:
    """Return two taps for each point; points more than a pixel outside the map have weight 0."""
    inside = ((positions >= -1) & (positions <= length)).to(positions.dtype)
    clamped = positions.nan_to_num().clamp(0, length - 1)
    low = clamped.floor()
    above = (clamped - low) * inside
    pixels = torch.stack([low, (low + 1).clamp(max=length - 1)], -1)
    weights = torch.stack([inside - above, above], -1)
    return Axis(pixels.flatten(2).long(), weights.flatten(2))


def merge_taps(axis: Axis, length: int) -> Axis:
    """Sum the weights of the taps on each pixel, for points at most a pixel apart."""
    taps = min(axis.pixels.shape[2] // 2 + 1, length)
    first = axis.pixels[..., :1].clamp(max=length - taps)
    weights = axis.weights.new_zeros(*axis.weights.shape[:2], taps)
    weights.scatter_add_(2, (axis.pixels - first).clamp(max=taps - 1), axis.weights)
    return Axis(first + torch.arange(taps, device=first.device), weights)
