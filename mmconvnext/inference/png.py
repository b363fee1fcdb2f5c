"""PNG files that are whole or not there."""

import os
from pathlib import Path

import cv2
import numpy as np

from mmconvnext.errors import UserError


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture, and the folders that it is to be in; an older file is replaced.

    Args:
        path: File to write.
        image: (H, W) or (H, W, 3) BGR; uint8 or uint16.

    Raises:
        UserError: the file could not be written.
    """
    encoded = cv2.imencode('.png', image)[1]
    partial = path.with_name(f'.{path.name}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(encoded)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f'{path}: could not be written ({error.strerror})') from error
