"""Resizing, and whatever else is linear along one axis, a few outputs at a time.

What mmseg does to a head's logits (resize to the crop, average the crops, cut the padding off, flip
back, resize to the image) is one linear map along the rows and one along the columns. As such
they are composed before any logit is touched, and are applied to as many outputs as the cache
holds, so that no map of all classes at the size of the image is ever made.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

import torch
from torch import Tensor

_CPU = torch.device('cpu')


class Piece(NamedTuple):
    """What one source adds to a tile: ``matrix @ source[inputs]``."""

    source: int
    inputs: slice
    matrix: Tensor  # (outputs, inputs)


class Tile(NamedTuple):
    """Neighbouring outputs of a map, as a sum over the sources that they are made of."""

    outputs: slice
    pieces: list[Piece]


class AxisMap(NamedTuple):
    """A linear map along one axis, few inputs to an output.

    Output i is Σ_k ``weights[i, k] · input[taps[i, k]]``. The inputs are ``sources`` tensors of
    ``length`` rows each, counted through: tap t is row t % length of source t // length.
    """

    taps: Tensor  # (outputs, k) int64
    weights: Tensor  # (outputs, k) float64, float32 on an Apple GPU
    length: int
    sources: int = 1

    def then(self, after: 'AxisMap') -> Self:
        """One map after another: ``after`` on the outputs of this one."""
        weights = after.weights[..., None] * self.weights[after.taps]
        return self._replace(taps=self.taps[after.taps].flatten(1), weights=weights.flatten(1))

    def repeated(self, sources: int) -> Self:
        """The same on each of several sources, the outputs one after the other."""
        shift = torch.arange(sources).repeat_interleave(len(self.taps))[:, None] * self.length
        taps, weights = self.taps.repeat(sources, 1) + shift, self.weights.repeat(sources, 1)
        return self._replace(taps=taps, weights=weights, sources=sources)

    def kept(self, outputs: slice, flipped: bool = False) -> Self:
        """Only some of the outputs, in reverse order where ``flipped``."""
        kept = (self.taps[outputs], self.weights[outputs])
        taps, weights = (values.flip(0) for values in kept) if flipped else kept
        return self._replace(taps=taps, weights=weights)

    def matrix(self) -> Tensor:
        """All of it, of one source, dense: (outputs, length)."""
        of_input = self.taps[..., None] == torch.arange(self.length, device=self.taps.device)
        return (self.weights[..., None] * of_input).sum(1)

    def tiles(self, size: int, like: Tensor) -> list[Tile]:
        """Dense matrices for ``size`` outputs at a time, with ``like``'s dtype and device."""
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
    """Bilinear resizing along one axis, with F.interpolate's own coordinates.

    ``dtype`` is that of what is resized: F.interpolate computes coordinates in float32 unless that
    is float64, and an error of 1e-5 of a pixel is not to be made, or mended, here. Products and
    differences are therefore taken in float64, and rounded once as the compiler's one instruction
    for both does; in float32 on an Apple GPU, which has no float64. The map is made on ``device``.
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
    """The mean of overlapping windows along one axis, where each is a source of ``size`` rows."""
    place = torch.arange(length)[:, None] - torch.tensor(starts)
    covers = (place >= 0) & (place < size)
    taps = torch.where(covers, place + torch.arange(len(starts)) * size, 0)
    weights = covers / covers.sum(1, keepdim=True).double()
    # No more windows cover a row than the most that do: the others' zeros go.
    most = int(covers.sum(1).max())
    order = covers.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return AxisMap(taps.gather(1, order), weights.gather(1, order), size, len(starts))


@torch.compiler.disable
def full_precision(device: torch.device) -> AbstractContextManager:
    """A context without autocast, which would round logits and weights to sixteen bits."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
