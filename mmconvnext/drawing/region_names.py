"""Names of classes where their regions have room for them."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.plates import draw_plate, measure

_LOOKED_AT = 512  # pixels a side of the map in which room is looked for
_ROOM = 1.3  # of a plate, that its region has to have each way


def name_regions(
    canvas: np.ndarray,
    labels: np.ndarray,
    present: Sequence[int],
    classes: Classes,
    factor: int,
    scale: float,
) -> None:
    """Write each class's name once, in the middle of the widest place that it has.

    Colours of a large palette are too near each other to tell all of them by a legend. A class
    without room for its name has the legend only.

    Args:
        canvas: (H × factor, W × factor, 3) uint8, BGR; changed.
        labels: (H, W) ids.
        present: Ids to name.
        classes: Names and colours.
        factor: Of the enlargement.
        scale: Size of the text, in the canvas.
    """
    step = -(-max(labels.shape) // _LOOKED_AT)
    first = [min(step // 2, side - 1) for side in labels.shape]
    small = labels[first[0] :: step, first[1] :: step]
    pixel = step * factor  # of the canvas, a side
    for i in present:
        text = measure(classes.names[i], canvas.shape[1], scale)
        needed = [int(np.ceil(side * _ROOM / pixel)) for side in text.size]
        middle = _middle((small == i).astype(np.uint8), *needed)
        if middle is None:
            continue
        corner = [
            int(np.clip((at + 0.5) * pixel - side / 2, 0, whole - side))
            for at, side, whole in zip(middle, text.size, canvas.shape[1::-1])
        ]
        draw_plate(canvas, text, corner, classes.colours[i][::-1], scale)


def _middle(region: np.ndarray, width: int, height: int) -> tuple[int, int] | None:
    """Column and row around which a region has most room for a rectangle, None for too little."""
    # Nothing is outside of the picture: the border limits a region as another region does.
    eroded = cv2.erode(
        region,
        np.ones((height, width), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    if not eroded.any():
        return None
    room = cv2.distanceTransform(cv2.copyMakeBorder(eroded, 1, 1, 1, 1, cv2.BORDER_CONSTANT), 1, 3)
    row, column = np.unravel_index(room.argmax(), room.shape)
    return int(column) - 1, int(row) - 1
