"""Apply resizing and other maps that are linear along one axis, a few outputs at a time.

mmseg's steps on a head's logits (resize to the crop, average the crops, remove the padding, flip
back, resize to the image) are one linear map along the rows and one along the columns. The steps
are composed first, and then applied to as many outputs as fit into the cache, so that a map of all
classes at the size of the image is never built.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

import torch
from torch import Tensor

_CPU = torch.device('cpu')


class Piece(NamedTuple):
    """The contribution of one source to a tile: ``matrix @ source[inputs]``."""

    source: int
    inputs: slice
    matrix: Tensor  # (outputs, inputs)


class Tile(NamedTuple):
    """Consecutive outputs of a map, as a sum over their sources."""

    outputs: slice
    pieces: list[Piece]


class AxisMap(NamedTuple):
    """A sparse linear map along one axis, with few inputs per output.

    Output i is Σ_k ``weights[i, k] · input[taps[i, k]]``. The inputs are ``sources`` tensors of
    ``length`` rows each, numbered consecutively: tap t is row t % length of source t // length.
    """

    taps: Tensor  # (outputs, k) int64
    weights: Tensor  # (outputs, k) float64, float32 on an Apple GPU
    length: int
    sources: int = 1

    def then(self, after: 'AxisMap') -> Self:
        """Compose two maps: ``after`` is applied to the outputs of this map."""
        weights = after.weights[..., None] * self.weights[after.taps]
        return self._replace(taps=self.taps[after.taps].flatten(1), weights=weights.flatten(1))

    def repeated(self, sources: int) -> Self:
        """Return the same map on each of several sources, with consecutive outputs."""
        shift = torch.arange(sources).repeat_interleave(len(self.taps))[:, None] * self.length
        taps, weights = self.taps.repeat(sources, 1) + shift, self.weights.repeat(sources, 1)
        return self._replace(taps=taps, weights=weights, sources=sources)

    def kept(self, outputs: slice, flipped: bool = False) -> Self:
        """Return a map with only some of the outputs, in reverse order if ``flipped``."""
        kept = (self.taps[outputs], self.weights[outputs])
        taps, weights = (values.flip(0) for values in kept) if flipped else kept
        return self._replace(taps=taps, weights=weights)

    def matrix(self) -> Tensor:
        """Return the dense matrix of a map with one source: (outputs, length)."""
        of_input = self.taps[..., None] == torch.arange(self.length, device=self.taps.device)
        return (self.weights[..., None] * of_input).sum(1)

    def tiles(self, size: int, like: Tensor) -> list[Tile]:
        """Return dense matrices for ``size`` outputs each, with ``like``'s dtype and device."""
        return [self._tile(slice(i, i + size), like) for i in range(0, len(self.taps), size)]

    def _tile(self, outputs: slice, like: Tensor) -> Tile:
        taps, weights = self.taps[outputs], self.weights[outputs]
        outputs = slice(outputs.start, outputs.start + len(taps))
        used = weights != 0
        sources = taps // self.length
        pieces = []
        for source in sources[used].unique().tolist():
            mine = used & (sources == source)
            row, tap = mine.nonzero()[:, 0], taps[mine] - source * self.length
            first, last = int(tap.min()), int(tap.max())
            matrix = weights.new_zeros(len(taps), last + 1 - first)
            matrix.index_put_((row, tap - first), weights[mine], accumulate=True)
            matrix = matrix.to(like.device, like.dtype, non_blocking=True)
            pieces.append(Piece(source, slice(first, last + 1), matrix))
        return Tile(outputs, pieces)


def interpolation(
    inputs: int, outputs: int, align_corners: bool, dtype: torch.dtype, device: torch.device = _CPU
) -> AxisMap:
    """Return bilinear resizing along one axis, with F.interpolate's coordinates.

    ``dtype`` is the dtype of the resized values: F.interpolate computes coordinates in float32
    unless it is float64, and its rounding errors of 1e-5 of a pixel are reproduced here. Products
    and differences are therefore computed in float64 and rounded once, like the fused instruction
    of the compiled code; in float32 on an Apple GPU, which has no float64. The map is on
    ``device``.
    """
    dtype = torch.float64 if dtype == torch.float64 else torch.float32
    exact = dtype if device.type == 'mps' else torch.float64
    place = torch.arange(outputs, dtype=exact, device=device)
    if align_corners:
        step = torch.full((), inputs - 1, dtype=dtype, device=device) / max(outputs - 1, 1)
        place = place * step
    else:
        step = torch.full((), inputs, dtype=dtype, device=device) / outputs
        place = (place + 0.5) * step.to(exact) - 0.5
    place = place.to(dtype).clamp_(min=0)
    first = place.long().clamp_(max=inputs - 1)
    share = (place - first).clamp_(0, 1).to(exact)
    second = (first + 1).clamp_(max=inputs - 1)
    return AxisMap(torch.stack([first, second], 1), torch.stack([1 - share, share], 1), inputs)


def window_mean(starts: Sequence[int], size: int, length: int) -> AxisMap:
    """Return the mean of overlapping windows along one axis, each a source of ``size`` rows."""
    place = torch.arange(length)[:, None] - torch.tensor(starts)
    covers = (place >= 0) & (place < size)
    taps = torch.where(covers, place + torch.arange(len(starts)) * size, 0)
    weights = covers / covers.sum(1, keepdim=True).double()
    # Remove columns of zeros: a row is covered by a limited number of windows.
    most = int(covers.sum(1).max())
    order = covers.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return AxisMap(taps.gather(1, order), weights.gather(1, order), size, len(starts))


@torch.compiler.disable
def full_precision(device: torch.device) -> AbstractContextManager:
    """Return a context without autocast, which would round logits and weights to 16 bits."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
