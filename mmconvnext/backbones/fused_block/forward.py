"""The block's forward pass."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.backbones.fused_block.linear import linear
from mmconvnext.backbones.fused_block.parts import Part, by_pixel, groups_of_parts
from mmconvnext.backbones.fused_block.weights import (
    BlockSettings,
    BlockWeights,
    exact,
    shifted_bias,
)


class Kept(NamedTuple):
    """Tensors that the backward pass needs, for the K samples that were computed."""

    x: Tensor  # (K, H, W, C)
    depthwise: Tensor  # (K, H, W, C)
    norms: Tensor | None  # (K, 4C), of GRN, float32 or more
    hidden: Sequence[Tensor]  # (P, 4C) before GELU, for each part
    branch: Sequence[Tensor]  # (P, C) before layer scale; empty if layer scale is folded


def forward(
    x: Tensor, low: torch.dtype, weights: BlockWeights, settings: BlockSettings, keep: bool
) -> tuple[Tensor, Kept | None]:
    """Return the block's output for (N, H, W, C), and the backward pass's tensors if ``keep``."""
    inputs = x if settings.kept is None else x.index_select(0, settings.kept)
    bias = shifted_bias(weights) if keep else weights.project_bias
    bias = bias * weights.branch_scale(settings)
    # In the plain block layer scale is a separate float32 factor.
    out = inputs + (bias.to(low) if weights.gamma is None else bias)
    inputs = inputs.to(low)
    depthwise = inputs
    rest: tuple[Tensor | None, list[Tensor], list[Tensor]] = (None, [], [])
    if len(inputs):
        depthwise = _depthwise(inputs, weights)
        rest = _add_pointwise(out, depthwise, weights, settings, keep)
    if settings.kept is not None:
        out = x.to(out.dtype, copy=True).index_copy_(0, settings.kept, out)
    return out, Kept(inputs, depthwise, *rest) if keep else None


def _depthwise(x: Tensor, weights: BlockWeights) -> Tensor:
    kernel, bias = weights.depthwise.to(x.dtype), weights.depthwise_bias.to(x.dtype)
    padding = kernel.shape[-1] // 2
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, padding=padding, groups=len(kernel))
    return y.permute(0, 2, 3, 1).contiguous()


def _add_pointwise(
    out: Tensor, depthwise: Tensor, weights: BlockWeights, settings: BlockSettings, keep: bool
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Add the pointwise layers' result to ``out``; see :class:`Kept` for the returned tensors."""
    with_grn = weights.with_grn()
    depthwise, out = by_pixel(depthwise, with_grn), by_pixel(out, with_grn)
    low = depthwise.dtype
    expand, bias = weights.expand.to(low), weights.expand_bias.to(low)
    project = _Projection(weights, settings, low, keep)
    norms, hidden = [], []
    for group in groups_of_parts(depthwise, len(expand)):
        active = []
        for part in group:
            normed, _, _ = weights.normalize(part.rows(depthwise), settings)
            values = linear(normed, expand, bias, gelu=not keep)
            if keep:
                hidden.append(values)
                values = F.gelu(values)
            if with_grn:
                active.append(values)
            else:
                project.add(part.rows(out), values)
        if weights.grn_beta is not None:
            norms.append(_norms(group, active))
            response = weights.grn_response(norms[-1], settings)[:, None].to(low)
            for part, values in zip(group, active):
                by_sample = part.by_sample(values)
                if keep:
                    by_sample.mul_(response)
                else:
                    torch.addcmul(weights.grn_beta.to(low), by_sample, response, out=by_sample)
                project.add(part.rows(out), values)
    return torch.cat(norms) if with_grn else None, hidden, project.kept


class _Projection:
    """The second linear layer with its scale; ``kept`` has a tensor for each part, in order.

    Layer scale is multiplied into the weight in training, so that the unscaled result need not be
    kept. In inference it is not: for a small image, a pass over the weight takes longer.
    """

    def __init__(
        self, weights: BlockWeights, settings: BlockSettings, low: torch.dtype, keep: bool
    ) -> None:
        weight, self._scale, self._factor = weights.project, None, 1.0
        scale = weights.branch_scale(settings)
        if weights.gamma is None:
            self._factor = settings.scale
        elif keep and weights.folds_scale(low):
            weight = weight * scale[:, None]
        else:
            self._scale = scale
        self._weight = weight.to(low)
        self._keep = keep
        self.kept: list[Tensor] = []

    def add(self, out: Tensor, values: Tensor) -> None:
        """Add the branch of (P, 4C) to ``out``, (P, C)."""
        branch = linear(values, self._weight)
        if self._scale is None:
            out.add_(branch, alpha=self._factor)
            return
        out.addcmul_(branch.to(out.dtype), self._scale.to(out.dtype))
        if self._keep:
            self.kept.append(branch)


def _norms(group: list[Part], active: list[Tensor]) -> Tensor:
    """Return the L2 norms over the pixels of each sample, (samples, 4C)."""
    # vector_norm over this dimension is two to ten times slower on a CPU.
    squares: Any = sum(
        part.by_sample(values).to(exact(values.dtype)).square().sum(1)
        for part, values in zip(group, active)
    )
    return squares.sqrt_()
