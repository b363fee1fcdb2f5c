"""A block's parameters, and values derived from them for its forward and backward pass."""

from typing import NamedTuple

import torch
from torch import Tensor


class BlockSettings(NamedTuple):
    """Values other than parameters: the epsilons and the samples of stochastic depth."""

    eps: float
    grn_eps: float
    kept: Tensor | None = None  # (K,) samples whose branch is computed; None: all
    scale: float = 1.0  # factor on the branch of a kept sample


class BlockWeights(NamedTuple):
    """Parameters of a block with C channels.

    A parameter is None if the block has no layer scale, no GRN, or a folded affine part.
    """

    depthwise: Tensor  # (C, 1, k, k)
    depthwise_bias: Tensor  # (C,)
    norm: Tensor | None  # (C,)
    norm_bias: Tensor | None  # (C,)
    expand: Tensor  # (4C, C)
    expand_bias: Tensor  # (4C,)
    project: Tensor  # (C, 4C)
    project_bias: Tensor  # (C,)
    gamma: Tensor | None = None  # (C,)
    grn_gamma: Tensor | None = None  # (4C,)
    grn_beta: Tensor | None = None  # (4C,)

    def with_grn(self) -> bool:
        return self.grn_gamma is not None

    def branch_scale(self, settings: BlockSettings) -> Tensor:
        """Return the factor of layer scale and stochastic depth on the branch, (C,)."""
        if self.gamma is None:
            return torch.full_like(self.project_bias, settings.scale)
        return self.gamma * settings.scale

    def folds_scale(self, dtype: torch.dtype) -> bool:
        """Return whether the scale is multiplied into the second linear layer's weight.

        In 16 bits it is not: weights of .02 times a layer scale of 1e-6 underflow in float16.
        """
        return self.gamma is None or dtype == exact(dtype)

    def normalize(self, x: Tensor, settings: BlockSettings) -> tuple[Tensor, Tensor, Tensor]:
        """Return LayerNorm of ``x``, (P, C), and the mean and reciprocal deviation, (P, 1)."""
        dtype = exact(x.dtype)
        normed, mean, rstd = torch.native_layer_norm(
            x.to(dtype), x.shape[1:], *self.norm_affine(dtype), settings.eps
        )
        return normed.to(x.dtype), mean, rstd

    def norm_affine(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """Return LayerNorm's weight and bias in a dtype."""
        if self.norm is None or self.norm_bias is None:
            return None, None
        return self.norm.to(dtype), self.norm_bias.to(dtype)

    def grn_response(self, norms: Tensor, settings: BlockSettings) -> Tensor:
        """Return GRN's factor on each sample and channel, (samples, 4C), given the norms."""
        assert self.grn_gamma is not None
        relative = norms / (norms.mean(1, keepdim=True) + settings.grn_eps)
        return 1 + self.grn_gamma * relative


def exact(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for statistics and sums: float32 or more."""
    return torch.promote_types(dtype, torch.float32)


def shifted_bias(weights: BlockWeights) -> Tensor:
    """Return the second linear layer's bias plus that layer's result for GRN's shift, (C,)."""
    if weights.grn_beta is None:
        return weights.project_bias
    return torch.addmv(weights.project_bias, weights.project, weights.grn_beta)
