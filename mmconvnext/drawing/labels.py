"""Label maps drawn over an image, alone or side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmconvnext.drawing.panels import enlarge, enlargement, side_by_side

_WHITE = (255, 255, 255)


def compare_labels(
    image: np.ndarray,
    labels: dict[str, np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float,
) -> np.ndarray:
    """The picture and each of its label maps side by side, with titles and a legend.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: Title and (H, W) class ids of each label map.
        classes: Name of each class.
        palette: RGB colour of each class.
        opacity: Share of the label colour, 0 to 1.

    Returns:
        uint8, BGR.
    """
    panels = {'image': image}
    panels |= {title: overlay(image, ids, palette, opacity) for title, ids in labels.items()}
    factor = enlargement(image)
    enlarged = {title: enlarge(panel, factor) for title, panel in panels.items()}
    present = np.unique(np.concatenate([ids.ravel() for ids in labels.values()]))
    legend = [(classes[i], palette[i]) for i in present if i < len(classes)]
    return side_by_side(enlarged, legend)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float
) -> np.ndarray:
    """Label colours over a picture.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W) class ids; ids that the palette lacks, such as 255, are white.
        palette: RGB colour of each class.
        opacity: Share of the label colour, 0 to 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    table = np.full((max(256, len(palette)), 3), _WHITE, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    return cv2.addWeighted(table[labels.astype(np.uint16)], opacity, image, 1 - opacity, 0)
