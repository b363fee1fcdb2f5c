"""PNG files that are whole or not there."""

from pathlib import Path

import cv2
import numpy as np

from mmconvnext.files import whole_file


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture, and the folders that it is to be in; an older file is replaced.

    Args:
        path: File to write.
        image: (H, W) or (H, W, 3) BGR; uint8 or uint16.

    Raises:
        UserError: the file could not be written.
    """
    encoded = cv2.imencode('.png', image)[1]
    with whole_file(path) as partial:
        partial.write_bytes(encoded)
