"""A block's parameters in 16 bits, with scales multiplied into them, in one kernel.

The affine part of LayerNorm goes into the first linear layer, the shift of Global Response
Normalization (GRN) into the bias of the second, and layer scale into all of that. In float16 layer
scale stays separate: 1e-6 times a weight of .02 underflows to 0.
"""

from typing import NamedTuple, Self

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmconvnext.backbones.fused_block.weights import BlockWeights
from mmconvnext.backbones.triton_kernels.sizes import cdiv

# Columns of a tile.
_COLUMNS = 128
_PLACES = 49


class LowWeights(NamedTuple):
    """Weights in 16 bits; parts of one allocation."""

    taps: Tensor  # (49, C)
    depthwise_bias: Tensor  # (C,)
    expand: Tensor  # (4C, C)
    expand_bias: Tensor  # (4C,)
    project: Tensor  # (C, 4C)
    project_bias: Tensor  # (C,)

    @classmethod
    def of(cls, weights: BlockWeights, low: torch.dtype) -> Self:
        channels = len(weights.depthwise)
        sizes = [_PLACES * channels, channels, 4 * channels**2, 4 * channels, 4 * channels**2]
        buffer = torch.empty(sum(sizes) + channels, dtype=low, device=weights.expand.device)
        taps, depthwise_bias, expand, expand_bias, project, bias = buffer.split([*sizes, channels])
        scaled = scales(weights, low)
        prepare[(5 * channels + cdiv(channels, 32),)](
            *as_given(weights, scaled),
            *(taps, depthwise_bias, expand, expand_bias, project, bias),
            *(channels, weights.norm is not None, scaled, weights.grn_beta is not None, _COLUMNS),
        )
        square = expand.view(-1, channels), project.view(channels, -1)
        return cls(taps, depthwise_bias, square[0], expand_bias, square[1], bias)


def scales(weights: BlockWeights, low: torch.dtype) -> bool:
    """Return whether layer scale is multiplied into the second layer."""
    return weights.gamma is not None and low != torch.float16


def as_given(weights: BlockWeights, scaled: bool) -> list[Tensor]:
    """Return the parameters for the kernels, with a placeholder tensor for each missing one."""
    a, any_one = weights, weights.project_bias
    given = [a.depthwise, a.depthwise_bias, a.norm, a.norm_bias, a.expand, a.expand_bias]
    given += [a.project, a.project_bias, a.gamma if scaled else None, a.grn_beta]
    return [any_one if one is None else one for one in given]


@triton.jit
def _prepare_expand(
    norm: tl.tensor,
    norm_bias: tl.tensor,
    expand: tl.tensor,
    expand_bias: tl.tensor,
    low_expand: tl.tensor,
    low_expand_bias: tl.tensor,
    row: tl.tensor,
    channels: tl.tensor,
    with_norm: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    low = low_expand.dtype.element_ty
    shift = tl.zeros((columns,), tl.float32)
    for first in range(0, channels, columns):
        column = first + tl.arange(0, columns)
        known = column < channels
        places = row * channels + column
        value = tl.load(expand + places, mask=known, other=0.0).to(tl.float32)
        if with_norm:
            shift += value * tl.load(norm_bias + column, mask=known, other=0.0).to(tl.float32)
            value *= tl.load(norm + column, mask=known, other=0.0).to(tl.float32)
        tl.store(low_expand + places, value.to(low), mask=known)
    bias = tl.load(expand_bias + row).to(tl.float32) + tl.sum(shift, 0)
    tl.store(low_expand_bias + row, bias.to(low))


@triton.jit
def _prepare_project(
    project: tl.tensor,
    project_bias: tl.tensor,
    gamma: tl.tensor,
    grn_beta: tl.tensor,
    low_project: tl.tensor,
    low_project_bias: tl.tensor,
    row: tl.tensor,
    channels: tl.tensor,
    with_gamma: tl.constexpr,
    with_beta: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    low = low_project.dtype.element_ty
    scale = 1.0
    if with_gamma:
        scale = tl.load(gamma + row).to(tl.float32)
    shift = tl.zeros((columns,), tl.float32)
    for first in range(0, 4 * channels, columns):
        column = first + tl.arange(0, columns)
        known = column < 4 * channels
        places = row * 4 * channels + column
        value = tl.load(project + places, mask=known, other=0.0).to(tl.float32)
        if with_beta:
            shift += value * tl.load(grn_beta + column, mask=known, other=0.0).to(tl.float32)
        tl.store(low_project + places, (value * scale).to(low), mask=known)
    bias = (tl.load(project_bias + row).to(tl.float32) + tl.sum(shift, 0)) * scale
    tl.store(low_project_bias + row, bias.to(low))


@triton.jit
def prepare(
    depthwise: tl.tensor,  # (channels, 49)
    depthwise_bias: tl.tensor,  # (channels,)
    norm: tl.tensor,  # (channels,)
    norm_bias: tl.tensor,  # (channels,)
    expand: tl.tensor,  # (4 channels, channels)
    expand_bias: tl.tensor,  # (4 channels,)
    project: tl.tensor,  # (channels, 4 channels)
    project_bias: tl.tensor,  # (channels,)
    gamma: tl.tensor,  # (channels,)
    grn_beta: tl.tensor,  # (4 channels,)
    low_taps: tl.tensor,  # (49, channels)
    low_depthwise_bias: tl.tensor,
    low_expand: tl.tensor,
    low_expand_bias: tl.tensor,
    low_project: tl.tensor,
    low_project_bias: tl.tensor,
    channels: tl.tensor,
    with_norm: tl.constexpr,
    with_gamma: tl.constexpr,
    with_beta: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    """A row of one of the matrices, or 32 channels of the depthwise weight."""
    row = tl.program_id(0)
    if row < 4 * channels:
        _prepare_expand(
            *(norm, norm_bias, expand, expand_bias, low_expand, low_expand_bias),
            *(row, channels, with_norm, columns),
        )
    elif row < 5 * channels:
        _prepare_project(
            *(project, project_bias, gamma, grn_beta, low_project, low_project_bias),
            *(row - 4 * channels, channels, with_gamma, with_beta, columns),
        )
    else:
        channel = (row - 5 * channels) * 32 + tl.arange(0, 32)
        place = tl.arange(0, 64)
        known = channel < channels
        mask = (place < 49)[:, None] & known[None, :]
        low = low_taps.dtype.element_ty
        value = tl.load(depthwise + channel[None, :] * 49 + place[:, None], mask=mask)
        tl.store(low_taps + place[:, None] * channels + channel[None, :], value.to(low), mask=mask)
        bias = tl.load(depthwise_bias + channel, mask=known)
        tl.store(low_depthwise_bias + channel, bias.to(low), mask=known)
