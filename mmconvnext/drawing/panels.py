"""Images side by side under their titles, over a legend."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX

_FONT_SIZE = 0.45  # at scale 1, as are the pixels below
_GAP = 8  # white pixels between the panels
_LINE = 24  # height of a line of text
_BASELINE = 17  # of the text in its line, from the line's top
_SMALLEST = 256  # images lower than this are enlarged
_ORDINARY = 700  # pixels a side of an image that is neither small nor large
_BLACK = (0, 0, 0)


def enlargement(image: np.ndarray) -> int:
    """The whole factor that makes an image high enough to look at; 1 for most."""
    return -(-_SMALLEST // len(image))


def text_scale(image: np.ndarray, factor: int) -> float:
    """Of text and lines: as large in a large image as in an ordinary one, seen whole."""
    height, width = image.shape[:2]
    return max(1.0, factor * (height * width) ** 0.5 / _ORDINARY)


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of (H, W) or (H, W, C), of any type, as a square of ``factor`` pixels a side."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def side_by_side(
    panels: Mapping[str, np.ndarray],
    legend: Iterable[tuple[str, Sequence[int]]],
    scale: float = 1.0,
) -> np.ndarray:
    """Panels under their titles, and below them the legend: one image, uint8 BGR.

    Panels are (H, W, 3) uint8 BGR, all of one height; a legend's entries are names and RGB colours.
    """
    columns: list[np.ndarray] = []
    for title, panel in panels.items():
        column = np.vstack([_text_line(panel.shape[1], title, scale), panel])
        gap = np.full((len(column), round(_GAP * scale), 3), 255, np.uint8)
        columns += [gap, column]
    row = np.hstack(columns[1:])
    return np.vstack([row, *legend_lines(row.shape[1], legend, scale)])


def legend_lines(
    width: int, entries: Iterable[tuple[str, Sequence[int]]], scale: float = 1.0
) -> list[np.ndarray]:
    """Lines of swatches and names, each (height, ``width``, 3) uint8 BGR; as many as it takes.

    ``entries`` are names and RGB colours; one that is wider than a line is cut
    (:func:`entry_width`).
    """
    lines: list[np.ndarray] = []
    height = round(_LINE * scale)
    x = width
    for name, colour in entries:
        needed = entry_width(name, scale)
        if x + needed > width:
            lines.append(_text_line(width, '', scale))
            x = 0
        margin = round(5 * scale)
        swatch = (x + margin - 1, margin), (x + height - margin - 1, height - margin)
        cv2.rectangle(lines[-1], *swatch, tuple(int(v) for v in colour[::-1]), -1)
        _write(lines[-1], name, x + height, scale)
        x += needed
    return lines


def entry_width(name: str, scale: float = 1.0) -> int:
    """Pixels that an entry of a legend takes, with the space up to the next one."""
    (width, _), _ = cv2.getTextSize(name, FONT, _FONT_SIZE * scale, round(scale))
    return round(_LINE * scale) + width + round(12 * scale)


def _text_line(width: int, text: str, scale: float) -> np.ndarray:
    line = np.full((round(_LINE * scale), width, 3), 255, np.uint8)
    _write(line, text, round(4 * scale), scale)
    return line


def _write(line: np.ndarray, text: str, x: int, scale: float) -> None:
    origin = x, round(_BASELINE * scale)
    cv2.putText(line, text, origin, FONT, _FONT_SIZE * scale, _BLACK, round(scale), cv2.LINE_AA)
