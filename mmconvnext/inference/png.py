"""Write PNG files completely or not at all."""

from pathlib import Path, PurePath

import cv2
import numpy as np

from mmconvnext.files import whole_file


def write_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) BGR, uint8 or uint16; raise UserError if it fails."""
    encoded = cv2.imencode('.png', image)[1]
    with whole_file(path) as partial:
        partial.write_bytes(encoded.data)


def frame_name(name: PurePath, frame: int) -> PurePath:
    """Return the path of a frame's PNG, in a folder named after the video; frames from 0."""
    return name.with_name(f'{name.name}.frames') / f'{frame:06d}.png'
