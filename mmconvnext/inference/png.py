"""PNG files that are whole or not there."""

from pathlib import Path, PurePath

import cv2
import numpy as np

from mmconvnext.files import whole_file


def write_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) BGR, uint8 or uint16, whole; a UserError where it cannot be."""
    encoded = cv2.imencode('.png', image)[1]
    with whole_file(path) as partial:
        partial.write_bytes(encoded.data)


def frame_name(name: PurePath, frame: int) -> PurePath:
    """Path of a frame's PNG, in a folder of the video's name; frames count from 0."""
    return name.with_name(f'{name.name}.frames') / f'{frame:06d}.png'
