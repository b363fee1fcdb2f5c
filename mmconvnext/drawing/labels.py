"""Draw label maps over an image, alone or side by side, with class names in them."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.panels import enlarge, enlargement, side_by_side
from mmconvnext.drawing.plates import draw_plate, measure

_WHITE = (255, 255, 255)
_LOOKED_AT = 512  # pixels: side of the reduced map that is searched for space for names
_ROOM = 1.3  # minimal size of a region, as a multiple of a name's plate


def compare_labels(
    image: np.ndarray,
    labels: dict[str, np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float,
) -> np.ndarray:
    """Return the image, (H, W, 3) uint8 BGR, and its label maps side by side, with a legend.

    ``labels`` maps each title to (H, W) class ids, ``classes`` are the classes' names; the other
    arguments are those of :func:`overlay`.
    """
    factor = enlargement(image)
    panels = {'image': image}
    panels |= {title: overlay(image, ids, palette, opacity) for title, ids in labels.items()}
    enlarged = {title: enlarge(panel, factor) for title, panel in panels.items()}
    present = np.unique(np.concatenate([ids.ravel() for ids in labels.values()]))
    legend = [(classes[i], palette[i]) for i in present if i < len(classes)]
    return side_by_side(enlarged, legend)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float
) -> np.ndarray:
    """Return an image, (H, W, 3) uint8 BGR, blended with the colours of its labels.

    ``labels`` are (H, W) class ids; ids that the RGB ``palette`` lacks, such as 255, are white.
    ``opacity`` is the weight of the label colour, 0 to 1.
    """
    table = np.full((max(256, len(palette)), 3), _WHITE, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    return cv2.addWeighted(table[labels.astype(np.uint16)], opacity, image, 1 - opacity, 0)


def name_regions(
    canvas: np.ndarray,
    labels: np.ndarray,
    present: Sequence[int],
    classes: Classes,
    factor: int,
    scale: float,
) -> None:
    """Write the name of each class in ``present`` once, at the widest place of its regions.

    The colours of a large palette are too similar for a legend alone. A class without space for
    its name is only in the legend. ``labels`` are (H, W) ids; ``canvas``, (H × factor, W × factor,
    3) uint8 BGR, is changed in place.
    """
    step = -(-max(labels.shape) // _LOOKED_AT)
    first = [min(step // 2, side - 1) for side in labels.shape]
    small = labels[first[0] :: step, first[1] :: step]
    pixel = step * factor  # pixels of the canvas for one of the reduced map, along a side
    for i in present:
        text = measure(classes.names[i], canvas.shape[1], scale)
        needed = np.ceil(np.multiply(text.size, _ROOM) / pixel).astype(int)
        middle = _middle((small == i).astype(np.uint8), *needed)
        if middle is None:
            continue
        corner = (np.add(middle, 0.5) * pixel - np.divide(text.size, 2)).clip(
            0, np.subtract(canvas.shape[1::-1], text.size)
        )
        draw_plate(canvas, text, corner.astype(int).tolist(), classes.colours[i][::-1], scale)


def _middle(region: np.ndarray, width: int, height: int) -> tuple[int, int] | None:
    """Return column and row where a rectangle fits best into a region, or None."""
    # The image border limits a region like another region.
    kernel = np.ones((height, width), np.uint8)
    eroded = cv2.erode(region, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if not eroded.any():
        return None
    room = cv2.distanceTransform(cv2.copyMakeBorder(eroded, 1, 1, 1, 1, cv2.BORDER_CONSTANT), 1, 3)
    row, column = map(int, np.unravel_index(room.argmax(), room.shape))
    return column - 1, row - 1
