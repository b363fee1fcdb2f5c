"""How much one program of a kernel computes."""

import triton
from triton import knobs

# Values of a map in a program, and its warps: between 8 and 32 values a thread.
_CHOICES = ((2048, 4), (4096, 4), (4096, 8), (8192, 8))
# The interpreter would run all of them to time them.
CONFIGS = [
    triton.Config({'tile': tile}, num_warps=warps)
    for tile, warps in (_CHOICES[:1] if knobs.runtime.interpret else _CHOICES)
]
# Sizes of maps change from batch to batch where images do; each would be compiled for anew.
SIZES = ['pixels', 'height', 'width']


def channel_block(channels: int) -> int:
    """Return how many channels a program takes where channels do not meet.

    All channel counts of the architectures but 40 and 48 and 80 are multiples of 32.
    """
    return 64 if channels % 64 == 0 else 32


def pixels_of(tile: int, channels: int) -> int:
    """Return the pixels of a program that has this many channels; powers of two."""
    return max(tile // channels, 1)
