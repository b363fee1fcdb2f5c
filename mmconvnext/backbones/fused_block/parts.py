"""The pixels of a batch, part by part."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

# Hidden values in one part on a CPU: enough work for its cores, small enough for its cache.
# Other devices compute everything at once.
CPU_BYTES = 3 << 20


class Part(NamedTuple):
    """Pixels that are computed together: several whole samples, or a part of one sample."""

    samples: slice
    pixels: slice

    def rows(self, x: Tensor) -> Tensor:
        """Return this part of ``x``, (samples, pixels, C), as a view of shape (P, C)."""
        return x[self.samples, self.pixels].flatten(0, 1)

    def by_sample(self, rows: Tensor) -> Tensor:
        """Return ``rows``, (P, C), as a view of shape (samples, pixels, C)."""
        return rows.view(self.samples.stop - self.samples.start, -1, rows.shape[-1])


def groups_of_parts(x: Tensor, width: int) -> Iterator[list[Part]]:
    """Yield groups of parts of ``x``, (samples, pixels, C), with ``width`` hidden values per pixel.

    Each group consists of whole samples. The split depends only on shape, dtype and device type.
    """
    samples, pixels, _ = x.shape
    budget = CPU_BYTES // x.element_size() if x.device.type == 'cpu' else samples * pixels * width
    together = max(budget // (pixels * width), 1)
    step = pixels if together > 1 else max(budget // width, 64)
    for first in range(0, samples, together):
        group = slice(first, min(first + together, samples))
        yield [Part(group, slice(p, min(p + step, pixels))) for p in range(0, pixels, step)]


def by_pixel(x: Tensor, samples_apart: bool) -> Tensor:
    """View (K, H, W, C) as (K, H·W, C), or as (1, K·H·W, C) unless ``samples_apart``."""
    return x.flatten(1, 2) if samples_apart else x.flatten(0, 2).unsqueeze(0)
