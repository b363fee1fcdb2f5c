"""Draw predictions over an image, with a legend below."""

from bisect import bisect
from collections.abc import Sequence

import cv2
import numpy as np

from mmconvnext.drawing.classes import Classes, Colour
from mmconvnext.drawing.instances import Instances, draw_instances
from mmconvnext.drawing.labels import name_regions, overlay
from mmconvnext.drawing.panels import enlarge, enlargement, entry_width, legend_lines, text_scale

_LONGEST = 4096  # pixels: maximal side of an enlarged image
_WHITE = (255, 255, 255)


def label_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    classes: Classes,
    opacity: float,
    lines: int | None = None,
) -> np.ndarray:
    """Return an image with label colours and names, over a legend, largest classes first.

    ``image`` is (H, W, 3) uint8 BGR (:func:`viewable`), ``labels`` are (H, W) ids, 0 for the first
    class. ``lines`` fixes the number of lines of the legend, so that all images have one size; None
    uses as many as needed. The result is uint8 BGR; small images are enlarged.
    """
    factor = _enlargement(image)
    drawn = enlarge(overlay(image, labels, classes.colours, opacity), factor)
    scale = text_scale(image, factor)
    present = _most_first(labels.ravel())
    name_regions(drawn, labels, present, classes, factor, scale)
    return _with_legend(drawn, present, classes, scale, lines)


def instance_overlay(
    image: np.ndarray,
    instances: Instances,
    classes: Classes,
    opacity: float,
    lines: int | None = None,
) -> np.ndarray:
    """Return an image with masks, boxes, names and scores, over a legend of its classes.

    ``instances`` are in the image's pixels, ``opacity`` is the weight of the class colour inside a
    mask; the rest is as in :func:`label_overlay`.
    """
    factor = _enlargement(image)
    scale = text_scale(image, factor)
    names, colours = classes.names, classes.colours
    drawn = draw_instances(image, instances, names, colours, opacity, factor=factor, scale=scale)
    return _with_legend(drawn, _most_first(instances.ids), classes, scale, lines)


def viewable(image: np.ndarray) -> np.ndarray:
    """Convert an image of any dtype and number of channels to (H, W, 3) uint8 BGR.

    16-bit integers lose their lower 8 bits. Floats are expected in 0 to 1, unless there are larger
    values. Only the first three channels are used; one or two channels become grey.
    """
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image.dtype != np.uint8:
        image = image * (1 if image.max(initial=0) > 1 else 255)
        image = image.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(
        image[..., :3] if image.shape[2] >= 3 else image[..., :1].repeat(3, axis=2)
    )


def _most_first(ids: np.ndarray) -> list[int]:
    """Return the ids that occur, the most frequent first; among equals, the lowest first."""
    counts = np.bincount(ids)
    return [i for i in np.argsort(-counts, kind='stable').tolist() if counts[i]]


def _enlargement(image: np.ndarray) -> int:
    """Return the factor of :func:`enlargement`, smaller for very wide images."""
    return max(1, min(enlargement(image), _LONGEST // max(image.shape[:2])))


def _with_legend(
    drawn: np.ndarray, present: Sequence[int], classes: Classes, scale: float, lines: int | None
) -> np.ndarray:
    entries = [(classes.names[i], classes.colours[i]) for i in present]
    if lines is None:
        # A narrow image gets a white margin, so that names are not cut off.
        widest = max((entry_width(name, scale) for name, _ in entries), default=0)
        margin = max(0, widest - drawn.shape[1])
        drawn = cv2.copyMakeBorder(drawn, 0, 0, 0, margin, cv2.BORDER_CONSTANT, value=_WHITE)
        return np.vstack([drawn, *legend_lines(drawn.shape[1], entries, scale)])
    return np.vstack([drawn, *_fixed_lines(drawn.shape[1], entries, scale, lines)])


def _fixed_lines(
    width: int, entries: Sequence[tuple[str, Colour]], scale: float, lines: int
) -> list[np.ndarray]:
    """Return a legend of ``lines`` lines: filled with empty lines, or without the last entries."""

    def legend(kept: int) -> list[np.ndarray]:
        more = [(f'+ {len(entries) - kept} more', _WHITE)] if kept < len(entries) else []
        return legend_lines(width, [*entries[:kept], *more], scale)

    kept = len(entries)
    if len(legend(kept)) > lines:
        kept = bisect(range(kept), 0, key=lambda number: len(legend(number)) > lines) - 1
    drawn = legend(max(kept, 0))[:lines]
    blank = legend_lines(width, [('', _WHITE)], scale)
    return drawn + blank * (lines - len(drawn))
