"""From a head's logits to a map of labels, a tile at a time."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mmconvnext.segmentation.row_bands import Tile, interpolation, window_mean
from mmconvnext.segmentation.whole_labels import WholeView, Windows, find_way_back, whole_labels

# Columns of a tile, and its logits: 16 rows of 150 classes in float32 are 614 KB, within a
# processor's second cache. Fewer rows than 8 would widen too many low rows twice, and of more than
# 64 the matrix is too large.
_TILE_COLUMNS = 64
_TILE_BYTES = 5 << 17


def _tile_size(like: Tensor) -> tuple[int, int]:
    """Rows and columns of a tile of logits like some, (h, w, C)."""
    rows = _TILE_BYTES // (_TILE_COLUMNS * like.shape[2] * like.element_size())
    return min(max(rows, 8), 64), _TILE_COLUMNS


class View:
    """An image as the head saw it, whole or in windows, and the way back to the image.

    The way is mmseg's, both of its resizes included: a window's logits to the size of the window,
    the mean of the windows, padding off, flip undone, to ``ori_shape``. Arguments and errors are
    those of :class:`~mmconvnext.segmentation.whole_labels.WholeView`.

    Once the last row of windows is decided, ``labels`` are as
    :func:`~mmconvnext.segmentation.whole_labels.whole_labels` returns them.
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
        # Flipped images need their last bands first.
        self._waiting = sorted(self.bands, key=_last_source, reverse=True)
        self.labels: Tensor | None = None

    def empty_labels(self) -> Tensor:
        """(1, height, width), uninitialized: int64, or the logits' dtype where C is 1."""
        dtype = torch.int64 if self.classes > 1 else self._like.dtype
        return torch.empty((1, *self.shape), dtype=dtype, device=self._like.device)

    def add(self, number: int, strip: Sequence[Tensor]) -> None:
        """Take in one row of windows, (h, w, C) each."""
        self._strips[number] = strip

    @torch.compiler.disable
    def decide(self, number: int, strip: Sequence[Tensor], threshold: float | None) -> None:
        """Take in the next row of windows, write the labels it completes, let go of what is done.

        ``threshold`` is that of a foreground's probability, where there is one class only.
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
        """Columns of the image and their logits, (rows of the band, columns, C), in turn."""
        matrix = torch.cat([matrix for _, _, matrix in band.pieces], 1)
        low = [self._rows(band, j) for j in range(len(self._strips[band.pieces[0].source]))]
        for outputs, pieces in self._columns:
            # The columns first, while the rows are few.
            (j, columns, widening), *others = pieces
            wide = torch.bmm(widening.expand(len(low[j]), -1, -1), low[j][:, columns])
            for j, columns, widening in others:
                wide.baddbmm_(widening.expand(len(low[j]), -1, -1), low[j][:, columns])
            yield outputs, (matrix @ wide.flatten(1)).view(-1, *wide.shape[1:])

    def _rows(self, band: Tile, j: int) -> Tensor:
        """A band's rows of the jth windows of its rows of windows, (k, w, C)."""
        return torch.cat([self._strips[n][j][rows] for n, rows, _ in band.pieces])


@functools.lru_cache(64)  # a dataset has few sizes, or else this costs 2 ms an image
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
    """From ``low`` logits a window to ``length`` of the image, ``tile`` of them at a time."""
    of_window = interpolation(low, windows.size, align_corners, dtype)
    of_input = of_window.repeated(len(windows.starts)).then(window_mean(*windows))
    upright = of_input.kept(slice(padding[0], windows.length - padding[1]), flipped)
    resized = upright.then(interpolation(len(upright.taps), length, align_corners, dtype))
    return resized.tiles(tile, torch.empty(0, dtype=dtype, device=device))


@torch.compiler.disable
def view_of(
    meta: Mapping, rows: Windows, columns: Windows, like: Tensor, align_corners: bool
) -> View | WholeView:
    """The view for the device that the logits are on."""
    kind = View if like.device.type == 'cpu' else WholeView
    return kind(meta, rows, columns, like, align_corners)


@torch.compiler.disable
def merged_labels(views: Sequence[View | WholeView], threshold: float | None) -> Tensor:
    """As :func:`~mmconvnext.segmentation.whole_labels.whole_labels`; on a CPU a tile at a time."""
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
    """Labels by logits or probabilities of several classes, or by probabilities of one."""
    if values.shape[-1] > 1:  # numpy's argmax takes a fifth of the time of torch's
        return torch.from_numpy(values.numpy().argmax(-1))
    assert threshold is not None
    return (values[..., 0] > threshold).to(values.dtype)
