"""Compute a label map from a head's logits, some classes at a time, for GPUs.

The tiles of ``label_map.py`` are for a CPU's cache, and their matrices are computed on the CPU.
Here torch's own resize is used as in mmseg, for as many classes at once as fit into free memory;
each pixel keeps its largest value so far. Nothing waits for the device.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.errors import ArgumentError

_BYTES = 1 << 30  # for devices that do not tell their free memory


class Windows(NamedTuple):
    """Positions of the windows along one axis of the input."""

    starts: tuple[int, ...]
    size: int
    length: int  # of the input

    def slices(self) -> list[slice]:
        return [slice(start, start + self.size) for start in self.starts]


def find_way_back(meta: Mapping) -> tuple[Sequence[int], str | None, tuple[int, int]]:
    """Return padding (left, right, top, bottom), flip and size that lead back to the image."""
    padding = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
    flip = meta.get('flip_direction') if meta.get('flip') else None
    if meta.get('flip') and flip not in ('horizontal', 'vertical'):
        raise ArgumentError(
            f"flip_direction: expected 'horizontal' or 'vertical' where flip is set, got {flip!r}"
        )
    return padding, flip, tuple(meta['ori_shape'][:2])


class WholeView:
    """The logits of an image, whole or in windows; all windows are kept.

    Args:
        meta: The image's metainfo: ``img_padding_size`` or ``padding_size``, ``flip``,
            ``flip_direction`` and ``ori_shape`` are used.
        rows: Windows along the rows.
        columns: Windows along the columns.
        like: Logits of a window, (h, w, C), with the shape, dtype and device of all windows.
        align_corners: As in F.interpolate.

    Raises:
        ArgumentError: the flip is neither horizontal nor vertical.
    """

    def __init__(
        self, meta: Mapping, rows: Windows, columns: Windows, like: Tensor, align_corners: bool
    ) -> None:
        self._padding, self._flip, self.shape = find_way_back(meta)
        self._rows, self._columns = rows, columns
        self._align_corners = align_corners
        self._strips: dict[int, Sequence[Tensor]] = {}
        self._counts: Tensor | None = None
        self.classes = like.shape[2]
        self.labels: Tensor | None = None

    def add(self, number: int, strip: Sequence[Tensor]) -> None:
        """Add one row of windows, (h, w, C) each."""
        self._strips[number] = strip

    @torch.compiler.disable
    def decide(self, number: int, strip: Sequence[Tensor], threshold: float | None) -> None:
        """Add the next row of windows; after the last one, compute the ``labels``."""
        self.add(number, strip)
        if len(self._strips) == len(self._rows.starts):
            self.labels = whole_labels([self], threshold)

    def bytes_of_a_class(self) -> int:
        """Return the peak memory of :meth:`maps` for each class."""
        return 2 * 4 * (self._rows.length * self._columns.length + self.shape[0] * self.shape[1])

    def maps(self, classes: slice) -> Tensor:
        """Return the logits of some classes at the size of the image, (c, height, width)."""
        left, right, top, bottom = self._padding
        height, width = self._rows.length, self._columns.length
        maps = self._of_input(classes)[..., top : height - bottom, left : width - right]
        if self._flip:
            maps = maps.flip(-1 if self._flip == 'horizontal' else -2)
        return self._resized(maps, self.shape)[0]

    def _of_input(self, classes: slice) -> Tensor:
        size = (self._rows.size, self._columns.size)
        windows = [
            (row, column, window[..., classes].permute(2, 0, 1)[None])
            for number, row in enumerate(self._rows.slices())
            for column, window in zip(self._columns.slices(), self._strips[number])
        ]
        first = windows[0][2]
        if len(windows) == 1:
            return self._resized(first, size)
        total = first.new_zeros(1, first.shape[1], self._rows.length, self._columns.length)
        for row, column, window in windows:
            total[..., row, column] += self._resized(window, size)
        if self._counts is None:  # number of windows that cover each pixel of the input
            self._counts = total.new_zeros(total.shape[2:])
            for row, column, _ in windows:
                self._counts[row, column] += 1
        return total.div_(self._counts)

    def _resized(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(maps, size, mode='bilinear', align_corners=self._align_corners)


def whole_labels(views: Sequence[WholeView], threshold: float | None) -> Tensor:
    """Return an image's labels, from its logits or the mean probability of several views.

    As in mmseg's ``SegTTAModel``, the sigmoid of a single class is applied twice for several views.
    ``threshold`` is the foreground's minimal probability if there is only one class. All views must
    be complete.

    Returns:
        (1, height, width): int64, or the logits' dtype (0 or 1) for a single class.
    """
    first = views[0]
    if first.classes == 1:
        assert threshold is not None
        shares: list[Any] = [view.maps(slice(0, 1)).sigmoid() for view in views]
        mean = shares[0] if len(shares) == 1 else sum(x.sigmoid() for x in shares) / len(shares)
        return (mean > threshold).to(mean.dtype)
    step = max(_free_bytes(first) // first.bytes_of_a_class(), 1)
    values = _values(views, min(step, first.classes))
    largest, labels = next(values)[1].max(0)
    for begin, maps in values:
        value, label = maps.max(0)
        labels = torch.where(value > largest, label + begin, labels)
        largest = torch.maximum(value, largest)
    return labels[None]


def _values(views: Sequence[WholeView], step: int) -> Iterator[tuple[int, Tensor]]:
    """Yield a first class, and logits or probabilities from it on, (c, height, width)."""
    parts = [slice(begin, begin + step) for begin in range(0, views[0].classes, step)]
    if len(views) == 1:
        yield from ((part.start, views[0].maps(part)) for part in parts)
    elif len(parts) == 1:
        total = views[0].maps(parts[0]).softmax(0)
        for view in views[1:]:
            total += view.maps(parts[0]).softmax(0)
        yield 0, total
    else:
        # Reductions over all classes, (height, width) each.
        by_part = ([view.maps(part).logsumexp(0) for part in parts] for view in views)
        sums = [torch.stack(of_view).logsumexp(0) for of_view in by_part]
        for part in parts:
            shares = ((view.maps(part) - of_view).exp_() for view, of_view in zip(views, sums))
            of_views: Any = sum(shares)
            yield part.start, of_views


def _free_bytes(view: WholeView) -> int:
    """Return half of the free memory on the view's device."""
    device = view._strips[0][0].device
    if device.type != 'cuda':
        return _BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)) // 2
