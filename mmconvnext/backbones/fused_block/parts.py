"""The pixels of a batch, part by part."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

# Hidden values of one part on a CPU: enough work for its cores, little enough for its cache.
# Other devices take everything at once.
CPU_BYTES = 3 << 20


class Part(NamedTuple):
    """Pixels that are computed together: of several whole samples, or some of one sample."""

    samples: slice
    pixels: slice

    def rows(self, x: Tensor) -> Tensor:
        """Its values of (samples, pixels, C) as (P, C), a view."""
        return x[self.samples, self.pixels].flatten(0, 1)

    def by_sample(self, rows: Tensor) -> Tensor:
        """(P, C) as (samples, pixels, C), a view."""
        return rows.view(self.samples.stop - self.samples.start, -1, rows.shape[-1])


def groups_of_parts(x: Tensor, width: int) -> Iterator[list[Part]]:
    """Parts of (samples, pixels, C) with ``width`` hidden values a pixel.

    Each group makes up whole samples. They depend on nothing but shape, dtype and kind of device.
    """
    samples, pixels, _ = x.shape
    budget = CPU_BYTES // x.element_size() if x.device.type == 'cpu' else samples * pixels * width
    together = max(budget // (pixels * width), 1)
    step = pixels if together > 1 else max(budget // width, 64)
    for first in range(0, samples, together):
        group = slice(first, min(first + together, samples))
        yield [Part(group, slice(p, min(p + step, pixels))) for p in range(0, pixels, step)]


def by_pixel(x: Tensor, samples_apart: bool) -> Tensor:
    """(K, H, W, C) as (K, H·W, C), or as (1, K·H·W, C) where samples need not be told apart."""
    return x.flatten(1, 2) if samples_apart else x.flatten(0, 2).unsqueeze(0)
