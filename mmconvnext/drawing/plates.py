"""Draw a line of text on a plate in the colour of its class."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mmconvnext.drawing.classes import Colour
from mmconvnext.drawing.panels import FONT

_FONT_SIZE = 0.4  # at scale 1, like the pixels below
_PADDING = 3  # around the text
_BRIGHT = 140  # of 255: on brighter colours black text is easier to read than white
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class PlateText(NamedTuple):
    """A text, its plate's (width, height), the baseline above the bottom, and the font size."""

    text: str
    size: tuple[int, int]
    baseline: int
    font_size: float


def measure(text: str, widest: int, scale: float) -> PlateText:
    """Measure a line of text, with a smaller font if its plate would be wider than ``widest``.

    ``scale`` is the size of the text; 1 suits images of a few hundred pixels.
    """
    padding = round(_PADDING * scale)
    font_size = _FONT_SIZE * scale
    (width, height), below = cv2.getTextSize(text, FONT, font_size, round(scale))
    room = widest - 2 * padding
    if width > room:
        font_size *= room / width
        (width, height), below = cv2.getTextSize(text, FONT, font_size, round(scale))
    # Half of OpenCV's space for descenders: enough for a 'g', and the text is centred.
    baseline = padding + (below + 1) // 2
    size = min(width + 2 * padding, widest), height + padding + baseline
    return PlateText(text, size, baseline, font_size)


def draw_plate(
    canvas: np.ndarray, text: PlateText, corner: Sequence[int], colour: Colour, scale: float
) -> None:
    """Draw a text, as measured at the same scale, on a plate of a BGR colour.

    ``canvas``, (H, W, 3) uint8 BGR, is changed in place; ``corner`` is the plate's left and top.
    """
    left, top = corner
    bottom = top + text.size[1]
    corners = (left, top), (left + text.size[0] - 1, bottom - 1)
    cv2.rectangle(canvas, *corners, colour, -1)
    cv2.rectangle(canvas, *corners, shade(colour), round(scale))
    ink = _BLACK if _is_bright(colour) else _WHITE
    origin = left + round(_PADDING * scale), bottom - text.baseline
    cv2.putText(canvas, text.text, origin, FONT, text.font_size, ink, round(scale), cv2.LINE_AA)


def shade(colour: Colour) -> Colour:
    """Return a darker shade of a bright BGR colour, or a brighter shade of a dark one."""
    blue, green, red = (value // 2 if _is_bright(colour) else 128 + value // 2 for value in colour)
    return blue, green, red


def _is_bright(colour: Colour) -> bool:
    """Return whether black is easier to read on a BGR colour than white, by Rec. 601 luma."""
    blue, green, red = colour
    return 0.114 * blue + 0.587 * green + 0.299 * red > _BRIGHT
