"""Names and colours of classes."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

Colour = tuple[int, int, int]


class Classes(NamedTuple):
    """Names and RGB colours of the classes; ``source`` tells the user where they are from."""

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    source: str


def class_name(index: int, classes: Sequence[str]) -> str:
    """Return the class's name, or its id if it has no name."""
    return classes[index] if index < len(classes) else str(index)


def class_colour(index: int, palette: Sequence[Sequence[int]]) -> Colour:
    """Return the RGB colour of a class, or a generated one if the palette lacks it."""
    if index < len(palette):
        red, green, blue = (int(value) for value in palette[index])
        return red, green, blue
    # Steps of the golden ratio in hue give distinct colours to any number of consecutive ids.
    hsv = np.array([[[round(180 * (index * 0.618034 % 1)) % 180, 200, 240]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return int(red), int(green), int(blue)
