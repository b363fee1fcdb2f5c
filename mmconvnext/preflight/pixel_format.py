"""Read an image file's bits per value and channels from its header."""

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_PNG = b'\x89PNG'
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette has three
_TIFF = (b'II*\0', b'MM\0*')
_BITS, _CHANNELS = 258, 277  # TIFF's tags
_MODES = {'RGBA': (8, 4), 'LA': (8, 2), 'PA': (8, 4), 'I;16': (16, 1), 'I;16B': (16, 1)}


def pixel_format(file: BinaryIO) -> tuple[int, int]:
    """Return the bits per value and the channels of an image file; (8, 3) if they are unknown.

    Pillow is asked only about other formats than PNG and TIFF: it reduces colours of 16 bits to 8.
    """
    start = file.read(26)
    if start.startswith(_PNG) and len(start) == 26:
        return max(start[24], 8), _PNG_CHANNELS.get(start[25], 3)
    if start.startswith(_TIFF):
        tags = ImageFileDirectory_v2(start[:8])
        file.seek(tags.next)
        tags.load(file)
        return max(tags.get(_BITS, (8,))), tags.get(_CHANNELS, 1)
    try:
        file.seek(0)
        with Image.open(file) as image:
            return _MODES.get(image.mode, (8, 3))
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return 8, 3
