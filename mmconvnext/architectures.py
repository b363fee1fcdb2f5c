"""The published sizes of ConvNeXt.

V1: section 3 of arXiv 2201.03545; atto to nano and huge: table 1 of arXiv 2301.00808; xxlarge:
OpenCLIP's trunk.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Architecture(NamedTuple):
    """Blocks and channels of each of the four stages, and the epsilon of every LayerNorm."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    eps: float = 1e-6


def _doubling(depths: tuple[int, ...], width: int, eps: float = 1e-6) -> Architecture:
    return Architecture(depths, tuple(width * 2**stage for stage in range(4)), eps)


#: The sizes by name.
ARCHITECTURES: dict[str, Architecture] = {
    'atto': _doubling((2, 2, 6, 2), 40),
    'femto': _doubling((2, 2, 6, 2), 48),
    'pico': _doubling((2, 2, 6, 2), 64),
    'nano': _doubling((2, 2, 8, 2), 80),
    'tiny': _doubling((3, 3, 9, 3), 96),
    'small': _doubling((3, 3, 27, 3), 96),
    'base': _doubling((3, 3, 27, 3), 128),
    'large': _doubling((3, 3, 27, 3), 192),
    'xlarge': _doubling((3, 3, 27, 3), 256),
    'huge': _doubling((3, 3, 27, 3), 352),
    'xxlarge': _doubling((3, 4, 30, 3), 384, eps=1e-5),
}


def find_size(depths: Sequence[int], width: int) -> str | None:
    """Return the size with these depths and this width, such as ``'tiny'``, or None."""
    wanted = tuple(depths), width
    sizes = ARCHITECTURES.items()
    return next((name for name, one in sizes if (one.depths, one.channels[0]) == wanted), None)
