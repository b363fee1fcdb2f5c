"""Names and colours of classes."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

Colour = tuple[int, int, int]


class Classes(NamedTuple):
    """Of each class its name and its RGB colour; ``source`` tells a person where they are from."""

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    source: str


def class_name(index: int, classes: Sequence[str]) -> str:
    """The class's name, or its id where it has none."""
    return classes[index] if index < len(classes) else str(index)


def class_colour(index: int, palette: Sequence[Sequence[int]]) -> Colour:
    """RGB of a class; one of its own for a class that the palette lacks."""
    if index < len(palette):
        red, green, blue = (int(value) for value in palette[index])
        return red, green, blue
    # Steps of the golden ratio around the hues keep any number of successive ids apart.
    hsv = np.array([[[round(180 * (index * 0.618034 % 1)) % 180, 200, 240]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return int(red), int(green), int(blue)
