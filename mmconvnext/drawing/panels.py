"""Arrange images side by side, with titles above and a legend below."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX

_FONT_SIZE = 0.45  # at scale 1, like the pixels below
_GAP = 8  # white pixels between the panels
_LINE = 24  # height of a line of text
_BASELINE = 17  # of the text, from the top of its line
_SMALLEST = 256  # images with a smaller height are enlarged
_ORDINARY = 700  # pixels: side of an image of normal size
_BLACK = (0, 0, 0)


def enlargement(image: np.ndarray) -> int:
    """Return the integer factor that makes an image high enough to look at; usually 1."""
    return -(-_SMALLEST // len(image))


def text_scale(image: np.ndarray, factor: int) -> float:
    """Return the scale of text and lines, relative to the size of the enlarged image."""
    height, width = image.shape[:2]
    return max(1.0, factor * (height * width) ** 0.5 / _ORDINARY)


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat each pixel of (H, W) or (H, W, C), of any dtype, ``factor`` times along each side."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def side_by_side(
    panels: Mapping[str, np.ndarray],
    legend: Iterable[tuple[str, Sequence[int]]],
    scale: float = 1.0,
) -> np.ndarray:
    """Return one uint8 BGR image: panels with titles above and a legend below.

    Panels are (H, W, 3) uint8 BGR of equal height; the legend's entries are names and RGB colours.
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
    """Return the legend's lines of swatches and names, each (height, ``width``, 3) uint8 BGR.

    ``entries`` are names and RGB colours; an entry wider than a line is cut (:func:`entry_width`).
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
    """Return the width of a legend's entry in pixels, including the space after it."""
    (width, _), _ = cv2.getTextSize(name, FONT, _FONT_SIZE * scale, round(scale))
    return round(_LINE * scale) + width + round(12 * scale)


def _text_line(width: int, text: str, scale: float) -> np.ndarray:
    line = np.full((round(_LINE * scale), width, 3), 255, np.uint8)
    _write(line, text, round(4 * scale), scale)
    return line


def _write(line: np.ndarray, text: str, x: int, scale: float) -> None:
    origin = x, round(_BASELINE * scale)
    cv2.putText(line, text, origin, FONT, _FONT_SIZE * scale, _BLACK, round(scale), cv2.LINE_AA)
