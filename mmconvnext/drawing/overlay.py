"""What was predicted, drawn over the image, with a legend below."""

from bisect import bisect
from collections.abc import Sequence

import cv2
import numpy as np

from mmconvnext.drawing.classes import Classes, Colour
from mmconvnext.drawing.instances import Instances, draw_instances
from mmconvnext.drawing.labels import name_regions, overlay
from mmconvnext.drawing.panels import enlarge, enlargement, entry_width, legend_lines, text_scale

_LONGEST = 4096  # pixels that no side of a small image is enlarged to
_WHITE = (255, 255, 255)


def label_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    classes: Classes,
    opacity: float,
    lines: int | None = None,
) -> np.ndarray:
    """Label colours over an image, names in them, a legend of all classes, the largest first.

    ``image`` is (H, W, 3) uint8 BGR (:func:`viewable`), ``labels`` are (H, W) ids, 0 for the first
    class. The legend has as many ``lines`` as it needs, or those given, so that images are of one
    size. The result is uint8 BGR: the image, enlarged if it is small, over its legend.
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
    """Masks, boxes, names and scores over an image, and a legend of the classes present.

    ``instances`` are in the image's pixels, ``opacity`` is the share of the class colour inside
    a mask; all else is as of :func:`label_overlay`.
    """
    factor = _enlargement(image)
    scale = text_scale(image, factor)
    names, colours = classes.names, classes.colours
    drawn = draw_instances(image, instances, names, colours, opacity, factor=factor, scale=scale)
    return _with_legend(drawn, _most_first(instances.ids), classes, scale, lines)


def viewable(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 BGR of an image of any channels and type that a pipeline loads.

    Integers of 16 bits lose the lower eight, fractions are taken to be of 0 to 1 unless they are
    larger, more than three channels lose all but the first three, and one or two become grey.
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
    """The ids that occur, the most frequent first, of equals the lowest."""
    counts = np.bincount(ids)
    return [i for i in np.argsort(-counts, kind='stable').tolist() if counts[i]]


def _enlargement(image: np.ndarray) -> int:
    """As of the images of a test, but for very wide and low ones, which would get huge."""
    return max(1, min(enlargement(image), _LONGEST // max(image.shape[:2])))


def _with_legend(
    drawn: np.ndarray, present: Sequence[int], classes: Classes, scale: float, lines: int | None
) -> np.ndarray:
    entries = [(classes.names[i], classes.colours[i]) for i in present]
    if lines is None:
        # A narrow image gets a white margin rather than names that are cut off.
        widest = max((entry_width(name, scale) for name, _ in entries), default=0)
        margin = max(0, widest - drawn.shape[1])
        drawn = cv2.copyMakeBorder(drawn, 0, 0, 0, margin, cv2.BORDER_CONSTANT, value=_WHITE)
        return np.vstack([drawn, *legend_lines(drawn.shape[1], entries, scale)])
    return np.vstack([drawn, *_fixed_lines(drawn.shape[1], entries, scale, lines)])


def _fixed_lines(
    width: int, entries: Sequence[tuple[str, Colour]], scale: float, lines: int
) -> list[np.ndarray]:
    """A legend of ``lines`` lines: empty ones below, or the last entries left out."""

    def legend(kept: int) -> list[np.ndarray]:
        more = [(f'+ {len(entries) - kept} more', _WHITE)] if kept < len(entries) else []
        return legend_lines(width, [*entries[:kept], *more], scale)

    kept = len(entries)
    if len(legend(kept)) > lines:
        kept = bisect(range(kept), 0, key=lambda number: len(legend(number)) > lines) - 1
    drawn = legend(max(kept, 0))[:lines]
    blank = legend_lines(width, [('', _WHITE)], scale)
    return drawn + blank * (lines - len(drawn))
