"""Read how an image file stores its values from its header."""

from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_PNG = b'\x89PNG'
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette has three
_TIFF = (b'II*\0', b'MM\0*')
# TIFF's tags, and the value of floats. A page that is not whole is a mask or a reduced copy.
_SUBFILE, _BITS, _CHANNELS, _SAMPLES, _FLOATS = 254, 258, 277, 339, 3
_NOT_WHOLE = 0b101
_MODES = {'RGBA': (8, 4), 'LA': (8, 2), 'PA': (8, 4), 'I;16': (16, 1), 'I;16B': (16, 1)}


class PixelFormat(NamedTuple):
    """Bits per value, channels, whether values are floats, and whether more pages follow."""

    bits: int = 8
    channels: int = 3
    floats: bool = False
    more_pages: bool = False


def pixel_format(file: BinaryIO) -> PixelFormat:
    """Return the format of an image file, the default if it is unknown.

    Pillow is asked only about other formats than PNG and TIFF: it reduces colours of 16 bits to 8.
    """
    start = file.read(26)
    if start.startswith(_PNG) and len(start) == 26:
        return PixelFormat(max(start[24], 8), _PNG_CHANNELS.get(start[25], 3))
    if start.startswith(_TIFF):
        return _tiff(file, start[:8])
    try:
        file.seek(0)
        with Image.open(file) as image:
            # Other formats, as phones' JPEG, hold previews and depth maps after the image.
            frames = image.format in ('GIF', 'WEBP') and getattr(image, 'is_animated', False)
            return PixelFormat(*_MODES.get(image.mode, (8, 3)), more_pages=frames)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return PixelFormat()


def _tiff(file: BinaryIO, header: bytes) -> PixelFormat:
    tags, following = ImageFileDirectory_v2(header), ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    if tags.next:
        file.seek(tags.next)
        following.load(file)
    return PixelFormat(
        max(tags.get(_BITS, (8,))),
        tags.get(_CHANNELS, 1),
        _FLOATS in tags.get(_SAMPLES, ()),
        bool(tags.next) and not following.get(_SUBFILE, 0) & _NOT_WHOLE,
    )
