"""Turn pixels as EXIF says, where an image and its annotations disagree about it.

Most programs turn an image by its EXIF orientation when they load it, but some, and all files of
labels, keep the stored pixels. Of the orientations, 5 to 8 swap width and height.
"""

import numpy as np
from mmengine import fileio
from PIL import Image

from mmconvnext.errors import UserError

ORIENTATION = 0x0112  # EXIF's tag
# Whether to transpose, and the quarter turns to the left after that.
_TURNS = {5: (True, 0), 6: (False, 3), 7: (True, 2), 8: (False, 1)}
_BACK = {5: 5, 6: 8, 7: 7, 8: 6}
SWAPPING = frozenset(_TURNS)


def turned_to(size: tuple[int, int], pixels: np.ndarray, image: str) -> np.ndarray | None:
    """Return pixels, (H, W) or (H, W, C), turned to ``size``, (height, width).

    ``image`` is the file whose EXIF says how; the pixels are its own, or its labels. The result is
    None if EXIF does not say that the two sizes are the same image.
    """
    if pixels.shape[:2] != size[::-1]:
        return None
    with fileio.get_local_path(image) as path, Image.open(path) as opened:
        stored, orientation = opened.size[::-1], opened.getexif().get(ORIENTATION, 1)
    if orientation not in SWAPPING or stored not in (size, size[::-1]):
        return None
    transposed, quarters = _TURNS[orientation if stored != size else _BACK[orientation]]
    return np.ascontiguousarray(np.rot90(pixels.swapaxes(0, 1) if transposed else pixels, quarters))


def fitted(
    size: tuple[int, int], pixels: np.ndarray, image: str, *, name: str, like: str, remedy: str
) -> np.ndarray:
    """Return pixels of ``size``, turned by :func:`turned_to` if needed.

    Raises UserError about the file ``name`` if they do not fit; ``like`` says where the size comes
    from, and ``remedy`` what to do.
    """
    turned = pixels if pixels.shape[:2] == size else turned_to(size, pixels, image)
    if turned is None:
        raise UserError(
            f'{name}: expected {size[1]} × {size[0]} pixels, {like}, got {pixels.shape[1]} × '
            f'{pixels.shape[0]}; {remedy}'
        )
    return turned
