"""Compute a label map from a head's logits, tile by tile."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mmconvnext.segmentation.row_bands import Tile, interpolation, window_mean
from mmconvnext.segmentation.whole_labels import WholeView, Windows, find_way_back, whole_labels

# Columns of a tile, and its number of logits: 16 rows of 150 classes in float32 are 614 KB, which
# fits into a processor's L2 cache. With fewer than 8 rows too many low-resolution rows would be
# widened twice, and with more than 64 the matrix is too large.
_TILE_COLUMNS = 64
_TILE_BYTES = 5 << 17


def _tile_size(like: Tensor) -> tuple[int, int]:
    """Return rows and columns of a tile for logits (h, w, C)."""
    rows = _TILE_BYTES // (_TILE_COLUMNS * like.shape[2] * like.element_size())
    return min(max(rows, 8), 64), _TILE_COLUMNS


class View:
    """The logits of an image, whole or in windows, and the way back to the image.

    The steps are mmseg's, with both of its resizes: a window's logits to the size of the window,
    mean of the windows, remove padding, undo the flip, resize to ``ori_shape``. Arguments and
    errors are those of :class:`~mmconvnext.segmentation.whole_labels.WholeView`.

    After the last row of windows, ``labels`` are those that
    :func:`~mmconvnext.segmentation.whole_labels.whole_labels` returns.
    """

    def __init__(
        self, meta: Mapping, rows: Windows, columns: Windows, like: Tensor, align_corners: bool
    ) -> None:
        (left, right, top, bottom), flip, self.shape = find_way_back(meta)
        self.classes = like.shape[2]
        self._like = like.new_empty(0)
        along = (
            (rows, len(like), (top, bottom), flip == 'vertical', self.shape[0]),
            (columns, like.shape[1], (left, right), flip == 'horizontal', self.shape[1]),
        )
        self.bands, self._columns = (
            _way_back(*axis, align_corners, size, like.dtype, like.device)
            for axis, size in zip(along, _tile_size(like))
        )
        self._strips: dict[int, Sequence[Tensor]] = {}
        # A vertically flipped image needs its last bands first.
        self._waiting = sorted(self.bands, key=_last_source, reverse=True)
        self.labels: Tensor | None = None

    def empty_labels(self) -> Tensor:
        """Return uninitialized labels, (1, height, width): int64, or logits' dtype if C is 1."""
        dtype = torch.int64 if self.classes > 1 else self._like.dtype
        return torch.empty((1, *self.shape), dtype=dtype, device=self._like.device)

    def add(self, number: int, strip: Sequence[Tensor]) -> None:
        """Add one row of windows, (h, w, C) each."""
        self._strips[number] = strip

    @torch.compiler.disable
    def decide(self, number: int, strip: Sequence[Tensor], threshold: float | None) -> None:
        """Add the next row of windows, write the labels it completes, and free finished rows.

        ``threshold`` is the foreground's minimal probability if there is only one class.
        """
        if self.labels is None:
            self.labels = self.empty_labels()
        self.add(number, strip)
        while self._waiting and _last_source(self._waiting[-1]) <= number:
            band = self._waiting.pop()
            for columns, logits in self.tiles(band):
                logits = logits.sigmoid() if self.classes == 1 else logits
                self.labels[0, band.outputs, columns] = _decide(logits, threshold)
        needed = min((band.pieces[0].source for band in self._waiting), default=number + 1)
        self._strips = {n: strip for n, strip in self._strips.items() if n >= needed}

    def tiles(self, band: Tile) -> Iterator[tuple[slice, Tensor]]:
        """Yield columns of the image and their logits, (rows of the band, columns, C)."""
        matrix = torch.cat([matrix for _, _, matrix in band.pieces], 1)
        low = [self._rows(band, j) for j in range(len(self._strips[band.pieces[0].source]))]
        for outputs, pieces in self._columns:
            # Columns first, while there are few rows.
            (j, columns, widening), *others = pieces
            wide = torch.bmm(widening.expand(len(low[j]), -1, -1), low[j][:, columns])
            for j, columns, widening in others:
                wide.baddbmm_(widening.expand(len(low[j]), -1, -1), low[j][:, columns])
            yield outputs, (matrix @ wide.flatten(1)).view(-1, *wide.shape[1:])

    def _rows(self, band: Tile, j: int) -> Tensor:
        """Return a band's rows of the j-th window in each row of windows, (k, w, C)."""
        return torch.cat([self._strips[n][j][rows] for n, rows, _ in band.pieces])


@functools.lru_cache(64)  # a dataset has few sizes; otherwise this costs 2 ms per image
def _way_back(
    windows: Windows,
    low: int,
    padding: tuple[int, int],
    flipped: bool,
    length: int,
    align_corners: bool,
    tile: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tile]:
    """Return the map from ``low`` logits per window to ``length`` pixels, in tiles of ``tile``."""
    of_window = interpolation(low, windows.size, align_corners, dtype)
    of_input = of_window.repeated(len(windows.starts)).then(window_mean(*windows))
    upright = of_input.kept(slice(padding[0], windows.length - padding[1]), flipped)
    resized = upright.then(interpolation(len(upright.taps), length, align_corners, dtype))
    return resized.tiles(tile, torch.empty(0, dtype=dtype, device=device))


@torch.compiler.disable
def view_of(
    meta: Mapping, rows: Windows, columns: Windows, like: Tensor, align_corners: bool
) -> View | WholeView:
    """Return the view for the device of the logits."""
    kind = View if like.device.type == 'cpu' else WholeView
    return kind(meta, rows, columns, like, align_corners)


@torch.compiler.disable
def merged_labels(views: Sequence[View | WholeView], threshold: float | None) -> Tensor:
    """Like :func:`~mmconvnext.segmentation.whole_labels.whole_labels`, tile by tile on a CPU."""
    if whole := [view for view in views if isinstance(view, WholeView)]:
        return whole_labels(whole, threshold)
    tiled = [view for view in views if isinstance(view, View)]
    labels = tiled[0].empty_labels()
    for bands in zip(*(view.bands for view in tiled), strict=True):
        of_views = (view.tiles(band) for view, band in zip(tiled, bands))
        for tiles in zip(*of_views, strict=True):
            total = _probabilities(tiles[0][1])
            for _, logits in tiles[1:]:
                total += _probabilities(logits)
            here = (0, bands[0].outputs, tiles[0][0])
            labels[here] = _decide(total.div_(len(views)), threshold)
    return labels


def _last_source(band: Tile) -> int:
    return band.pieces[-1].source


def _probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(-1) if logits.shape[-1] > 1 else logits.sigmoid().sigmoid()


def _decide(values: Tensor, threshold: float | None) -> Tensor:
    """Return labels from logits or probabilities of several classes, or probabilities of one."""
    if values.shape[-1] > 1:  # numpy's argmax is five times faster than torch's
        return torch.from_numpy(values.numpy().argmax(-1))
    assert threshold is not None
    return (values[..., 0] > threshold).to(values.dtype)
