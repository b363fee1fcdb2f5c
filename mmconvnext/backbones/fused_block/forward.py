"""The block's forward pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.backbones.fused_block.parts import Part, by_pixel, groups_of_parts
from mmconvnext.backbones.fused_block.weights import (
    BlockSettings,
    BlockWeights,
    branch_scale,
    exact,
    grn_response,
    normalize,
    shifted_bias,
)
from mmconvnext.ops.linear import linear


class Kept(NamedTuple):
    """What the backward pass needs of the K samples that were computed."""

    x: Tensor  # (K, H, W, C)
    depthwise: Tensor  # (K, H, W, C)
    norms: Tensor | None  # (K, 4C), of GRN, float32 or more
    hidden: Sequence[Tensor]  # (P, 4C) before GELU, for each part


def forward(
    x: Tensor, low: torch.dtype, weights: BlockWeights, settings: BlockSettings, keep: bool
) -> tuple[Tensor, Kept | None]:
    """The block of (N, H, W, C), and what its backward pass needs if ``keep``."""
    inputs = x if settings.kept is None else x.index_select(0, settings.kept)
    bias = shifted_bias(weights) * branch_scale(weights, settings)
    # Layer scale is a float32 factor of its own in the plain block.
    out = inputs + (bias.to(low) if weights.gamma is None else bias)
    inputs = inputs.to(low)
    depthwise, norms, hidden = inputs, None, []
    if len(inputs):
        depthwise = _depthwise(inputs, weights)
        norms, hidden = _add_pointwise(out, depthwise, weights, settings, keep)
    if settings.kept is not None:
        out = x.to(out.dtype, copy=True).index_copy_(0, settings.kept, out)
    return out, Kept(inputs, depthwise, norms, hidden) if keep else None


def _depthwise(x: Tensor, weights: BlockWeights) -> Tensor:
    kernel, bias = weights.depthwise.to(x.dtype), weights.depthwise_bias.to(x.dtype)
    padding = kernel.shape[-1] // 2
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, padding=padding, groups=len(kernel))
    return y.permute(0, 2, 3, 1).contiguous()


def _add_pointwise(
    out: Tensor, depthwise: Tensor, weights: BlockWeights, settings: BlockSettings, keep: bool
) -> tuple[Tensor | None, list[Tensor]]:
    """Adds what follows the depthwise convolution to ``out``; norms and hidden values."""
    with_grn = weights.with_grn()
    depthwise, out = by_pixel(depthwise, with_grn), by_pixel(out, with_grn)
    low = depthwise.dtype
    expand, bias = weights.expand.to(low), weights.expand_bias.to(low)
    project = (weights.project * branch_scale(weights, settings)[:, None]).to(low)
    norms, hidden = [], []
    for group in groups_of_parts(depthwise, len(expand)):
        active = []
        for part in group:
            normed, _, _ = normalize(part.rows(depthwise), weights, settings)
            values = linear(normed, expand, bias, gelu=not keep)
            if keep:
                hidden.append(values)
                values = F.gelu(values)
            if with_grn:
                active.append(values)
            else:
                part.rows(out).add_(linear(values, project))
        if with_grn:
            norms.append(_norms(group, active))
            response = grn_response(norms[-1], weights, settings)[:, None].to(low)
            for part, values in zip(group, active):
                part.by_sample(values).mul_(response)
                part.rows(out).add_(linear(values, project))
    return torch.cat(norms) if with_grn else None, hidden


def _norms(group: list[Part], active: list[Tensor]) -> Tensor:
    """L2 norms over the pixels of each sample, (samples, 4C)."""
    squares = sum(
        part.by_sample(values).to(exact(values.dtype)).square().sum(1)
        for part, values in zip(group, active)
    )
    return squares.sqrt_()
