"""Gradients of a block's parameters from those of its weights in 16 bits, in one kernel.

It undoes what :mod:`~mmconvnext.backbones.triton_kernels.weights` multiplied in, and adds up the
partial sums of vectors' gradients.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmconvnext.backbones.fused_block.weights import BlockWeights
from mmconvnext.backbones.triton_kernels.sizes import cdiv
from mmconvnext.backbones.triton_kernels.weights import as_given, scales

# Rows of the first matrix in a program, and columns of a tile.
_ROWS = 32
_COLUMNS = 128


class Sums(NamedTuple):
    """Partial sums of gradients of vectors, (parts, …), float32."""

    depthwise_bias: Tensor  # (C,)
    expand_bias: Tensor  # (4C,)
    project_bias: Tensor  # (2, C), with that of a layer scale that is apart


def gradients(
    weights: BlockWeights, of_depthwise: Tensor, of_expand: Tensor, of_project: Tensor, sums: Sums
) -> dict[str, Tensor]:
    """Return the parameters' gradients by name, except that of GRN's factor.

    The arguments are gradients of ``weights.LowWeights``: matrices in 16 bits, and the sums for
    vectors. The depthwise weight's gradient is (C, 1, 7, 7).
    """
    channels = len(weights.depthwise)
    scaled = scales(weights, of_expand.dtype)
    bands = cdiv(4 * channels, _ROWS)
    names = ('depthwise', 'depthwise_bias', 'expand', 'expand_bias', 'project', 'project_bias')
    found = {name: torch.empty_like(getattr(weights, name)) for name in names}
    of_norms = sums.expand_bias.new_empty((bands, 2, channels))
    of_gamma = sums.expand_bias.new_empty(channels)
    given = as_given(weights, scaled)
    fold[(bands + channels + cdiv(channels, 32),)](
        *(*given[2:5], *given[6:]),  # of the biases the second layer's alone is read
        *(of_depthwise, of_expand, of_project, *sums, *map(len, sums)),
        *(*found.values(), of_norms, of_gamma),
        *(channels, weights.norm is not None, scaled, weights.grn_beta is not None),
        *(_ROWS, _COLUMNS),
    )
    if weights.norm is not None:
        found['norm'], found['norm_bias'] = of_norms.sum(0).to(weights.norm.dtype)
    if weights.gamma is not None:
        found['gamma'] = of_gamma.to(weights.gamma.dtype)
    if weights.grn_beta is not None:
        project = weights.project
        of_beta = project.t() @ found['project_bias'].to(project.dtype)
        found['grn_beta'] = of_beta.to(weights.grn_beta.dtype)
    return found


@triton.jit
def _total(sums: tl.tensor, parts: tl.tensor, step: tl.tensor, known: tl.tensor) -> tl.tensor:
    """Add up vectors that start at ``sums`` and are ``step`` values apart."""
    total = tl.zeros((32, sums.shape[0]), tl.float32)
    for first in range(0, parts, 32):
        part = first + tl.arange(0, 32)
        mask = (part < parts)[:, None] & known[None, :]
        total += tl.load(sums[None, :] + part[:, None] * step, mask=mask, other=0.0)
    return tl.sum(total, 0)


@triton.jit(do_not_specialize=['depthwise_parts', 'expand_parts', 'project_parts'])
def fold(
    norm: tl.tensor,  # (channels,)
    norm_bias: tl.tensor,  # (channels,)
    expand: tl.tensor,  # (4 channels, channels)
    project: tl.tensor,  # (channels, 4 channels)
    project_bias: tl.tensor,  # (channels,)
    gamma: tl.tensor,  # (channels,)
    grn_beta: tl.tensor,  # (4 channels,)
    of_low_depthwise: tl.tensor,  # (channels, 49)
    of_low_expand: tl.tensor,
    of_low_project: tl.tensor,
    depthwise_sums: tl.tensor,  # (parts, channels)
    expand_sums: tl.tensor,  # (parts, 4 channels)
    project_sums: tl.tensor,  # (parts, 2, channels)
    depthwise_parts: tl.tensor,
    expand_parts: tl.tensor,
    project_parts: tl.tensor,
    of_depthwise: tl.tensor,
    of_depthwise_bias: tl.tensor,
    of_expand: tl.tensor,
    of_expand_bias: tl.tensor,
    of_project: tl.tensor,
    of_project_bias: tl.tensor,
    of_norms: tl.tensor,  # (bands, 2, channels), sums over bands of rows
    of_gamma: tl.tensor,  # (channels,)
    channels: tl.tensor,
    with_norm: tl.constexpr,
    with_gamma: tl.constexpr,
    with_beta: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    """A band of rows of the first matrix, a row of the second, or 32 channels of the depthwise."""
    bands = tl.cdiv(4 * channels, rows)
    band = tl.program_id(0)
    if band < bands:
        _fold_expand(
            *(norm, norm_bias, expand, of_low_expand, expand_sums, expand_parts),
            *(of_expand, of_expand_bias, of_norms, band, channels, with_norm, rows, columns),
        )
    elif band < bands + channels:
        _fold_project(
            *(project, project_bias, gamma, grn_beta, of_low_project, project_sums, project_parts),
            *(of_project, of_project_bias, of_gamma, band - bands),
            *(channels, with_gamma, with_beta, columns),
        )
    else:
        kind = of_depthwise.dtype.element_ty
        channel = (band - bands - channels) * 32 + tl.arange(0, 32)
        place = tl.arange(0, 64)
        known = channel < channels
        mask = known[:, None] & (place < 49)[None, :]
        places = channel[:, None] * 49 + place[None, :]
        grad = tl.load(of_low_depthwise + places, mask=mask, other=0.0)
        tl.store(of_depthwise + places, grad.to(kind), mask=mask)
        bias = _total(depthwise_sums + channel, depthwise_parts, channels, known)
        tl.store(of_depthwise_bias + channel, bias.to(kind), mask=known)


@triton.jit
def _fold_expand(
    norm: tl.tensor,
    norm_bias: tl.tensor,
    expand: tl.tensor,
    of_low_expand: tl.tensor,
    expand_sums: tl.tensor,
    expand_parts: tl.tensor,
    of_expand: tl.tensor,
    of_expand_bias: tl.tensor,
    of_norms: tl.tensor,
    band: tl.tensor,
    channels: tl.tensor,
    with_norm: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    kind = of_expand.dtype.element_ty
    row = band * rows + tl.arange(0, rows)
    bias = _total(expand_sums + row, expand_parts, 4 * channels, row < 4 * channels)
    tl.store(of_expand_bias + row, bias.to(kind), mask=row < 4 * channels)
    for first in range(0, channels, columns):
        column = first + tl.arange(0, columns)
        known = column < channels
        places = row[:, None] * channels + column[None, :]
        mask = (row < 4 * channels)[:, None] & known[None, :]
        grad = tl.load(of_low_expand + places, mask=mask, other=0.0).to(tl.float32)
        if with_norm:
            value = tl.load(expand + places, mask=mask, other=0.0).to(tl.float32)
            to = of_norms + band * 2 * channels + column
            tl.store(to, tl.sum(grad * value, 0), mask=known)
            tl.store(to + channels, tl.sum(bias[:, None] * value, 0), mask=known)
            scale = tl.load(norm + column, mask=known, other=0.0).to(tl.float32)
            shift = tl.load(norm_bias + column, mask=known, other=0.0).to(tl.float32)
            grad = grad * scale[None, :] + bias[:, None] * shift[None, :]
        tl.store(of_expand + places, grad.to(kind), mask=mask)


@triton.jit
def _fold_project(
    project: tl.tensor,
    project_bias: tl.tensor,
    gamma: tl.tensor,
    grn_beta: tl.tensor,
    of_low_project: tl.tensor,
    project_sums: tl.tensor,
    project_parts: tl.tensor,
    of_project: tl.tensor,
    of_project_bias: tl.tensor,
    of_gamma: tl.tensor,
    row: tl.tensor,
    channels: tl.tensor,
    with_gamma: tl.constexpr,
    with_beta: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    kind = of_project.dtype.element_ty
    one = tl.arange(0, 1)
    bias = tl.sum(_total(project_sums + row + one, project_parts, 2 * channels, one == 0), 0)
    at = project_sums + channels + row + one
    of_scale = tl.sum(_total(at, project_parts, 2 * channels, one == 0), 0)
    scale = 1.0
    if with_gamma:
        scale = tl.load(gamma + row).to(tl.float32)
        of_scale = bias * tl.load(project_bias + row).to(tl.float32)
    along = tl.zeros((columns,), tl.float32)
    for first in range(0, 4 * channels, columns):
        column = first + tl.arange(0, columns)
        known = column < 4 * channels
        places = row * 4 * channels + column
        grad = tl.load(of_low_project + places, mask=known, other=0.0).to(tl.float32)
        if with_beta:
            grad += bias * tl.load(grn_beta + column, mask=known, other=0.0).to(tl.float32)
        if with_gamma:
            along += grad * tl.load(project + places, mask=known, other=0.0).to(tl.float32)
        tl.store(of_project + places, (grad * scale).to(kind), mask=known)
    tl.store(of_project_bias + row, (bias * scale).to(kind))
    tl.store(of_gamma + row, (of_scale + tl.sum(along, 0)).to(kind))
