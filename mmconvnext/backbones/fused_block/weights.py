"""A block's parameters, and what its forward and backward pass both make of them."""

from typing import NamedTuple

import torch
from torch import Tensor


class BlockSettings(NamedTuple):
    """What is no parameter: the epsilons, and what stochastic depth drew for this pass."""

    eps: float
    grn_eps: float
    kept: Tensor | None = None  # (K,) samples whose branch is computed; None: all of them
    scale: float = 1.0  # of the branch of a kept sample


class BlockWeights(NamedTuple):
    """Parameters of a block of C channels.

    None where it has none: no layer scale, no GRN, an affine part folded into the next layer.
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
        """What layer scale and stochastic depth multiply the branch by, (C,)."""
        if self.gamma is None:
            return torch.full_like(self.project_bias, settings.scale)
        return self.gamma * settings.scale

    def folds_scale(self, dtype: torch.dtype) -> bool:
        """Whether the scale goes into the second linear layer's weight.

        A layer scale of 1e-6 does not in 16 bits: weights of .02 times that are no float16 any
        more.
        """
        return self.gamma is None or dtype == exact(dtype)

    def normalize(self, x: Tensor, settings: BlockSettings) -> tuple[Tensor, Tensor, Tensor]:
        """LayerNorm of (P, C) in the dtype of ``x``; mean and reciprocal deviation, (P, 1)."""
        dtype = exact(x.dtype)
        normed, mean, rstd = torch.native_layer_norm(
            x.to(dtype), x.shape[1:], *self.norm_affine(dtype), settings.eps
        )
        return normed.to(x.dtype), mean, rstd

    def norm_affine(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """LayerNorm's weight and bias in a dtype."""
        if self.norm is None or self.norm_bias is None:
            return None, None
        return self.norm.to(dtype), self.norm_bias.to(dtype)

    def grn_response(self, norms: Tensor, settings: BlockSettings) -> Tensor:
        """What GRN multiplies each sample and channel by, (samples, 4C), given their norms."""
        assert self.grn_gamma is not None
        relative = norms / (norms.mean(1, keepdim=True) + settings.grn_eps)
        return 1 + self.grn_gamma * relative


def exact(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics and sums: float32 or more."""
    return torch.promote_types(dtype, torch.float32)


def shifted_bias(weights: BlockWeights) -> Tensor:
    """The second linear layer's bias with GRN's shift gone through that layer, (C,)."""
    if weights.grn_beta is None:
        return weights.project_bias
    return torch.addmv(weights.project_bias, weights.project, weights.grn_beta)
