"""A block's parameters in the form that the lean block's operations need."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.fused_block.weights import BlockWeights, exact, shifted_bias


class LeanWeights(NamedTuple):
    """Weights in the dtype of the branch, with affine parts and scales multiplied in.

    ``norm`` and ``norm_bias`` are None if they are part of ``expand`` and ``expand_bias``, and
    ``gamma`` if it is part of ``project`` and ``project_bias``. GRN's shift is always part of
    ``project_bias``.
    """

    depthwise: Tensor  # (C, 1, k, k)
    depthwise_bias: Tensor  # (C,)
    expand: Tensor  # (4C, C)
    expand_bias: Tensor  # (4C,)
    project: Tensor  # (C, 4C)
    project_bias: Tensor  # (C,)
    norm: Tensor | None = None  # (C,)
    norm_bias: Tensor | None = None  # (C,)
    gamma: Tensor | None = None  # (C,), float32 or more

    @classmethod
    def of(cls, weights: BlockWeights, low: torch.dtype) -> Self:
        """Return a block's weights in lean form; differentiable, with few kernels in 16 bits."""
        if low != exact(low):
            # A layer scale of 1e-6 times a weight of .02 underflows in float16.
            apart = weights.gamma is not None and low == torch.float16
            given = weights._replace(gamma=None) if apart else weights
            low_weights = _MultipliedIn.apply(low, *given)
            return cls(*low_weights)._replace(gamma=weights.gamma if apart else None)
        project, bias = weights.project, shifted_bias(weights)
        if weights.gamma is not None:
            project, bias = project * weights.gamma[:, None], bias * weights.gamma
        first = weights.depthwise, weights.depthwise_bias, weights.expand, weights.expand_bias
        return cls(*first, project, bias, weights.norm, weights.norm_bias)


class _MultipliedIn(torch.autograd.Function):
    """The first six of :class:`LeanWeights`, LayerNorm's affine part and layer scale included."""

    @staticmethod
    def forward(ctx: Any, low: torch.dtype, *parameters: Tensor | None) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*parameters)
        weights = BlockWeights._make(parameters)
        expand_bias, project_bias = weights.expand_bias, shifted_bias(weights)
        if weights.norm_bias is not None:
            expand_bias = torch.addmv(expand_bias, weights.expand, weights.norm_bias)
        if weights.gamma is not None:
            project_bias = project_bias * weights.gamma
        expand = torch.empty_like(weights.expand, dtype=low)
        project = torch.empty_like(weights.project, dtype=low)
        copied = {}
        if weights.norm is None:
            copied[expand] = weights.expand
        else:
            torch.mul(weights.expand, weights.norm, out=expand)
        if weights.gamma is None:
            copied[project] = weights.project
        else:
            torch.mul(weights.project, weights.gamma[:, None], out=project)
        small = (weights.depthwise, weights.depthwise_bias, expand_bias, project_bias)
        lows = [torch.empty_like(one, dtype=low) for one in small]
        torch._foreach_copy_([*lows, *copied], [*small, *copied.values()])
        depthwise, depthwise_bias, expand_bias, project_bias = lows
        return depthwise, depthwise_bias, expand, expand_bias, project, project_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights = BlockWeights(*ctx.saved_tensors)
        first = weights.depthwise, weights.depthwise_bias, weights.expand, weights.expand_bias
        places = (*first, weights.project, weights.project_bias)
        exacts = [torch.empty_like(place) for place in places]
        torch._foreach_copy_(exacts, list(grads))
        depthwise, depthwise_bias, expand, expand_bias, project, project_bias = exacts
        norm = norm_bias = gamma = grn_beta = None
        if weights.norm is not None and weights.norm_bias is not None:
            norm = (expand * weights.expand).sum(0)
            norm_bias = expand_bias @ weights.expand
            expand = expand.mul_(weights.norm).addr_(expand_bias, weights.norm_bias)
        if weights.gamma is not None:
            gamma = (project * weights.project).sum(1).addcmul_(project_bias, shifted_bias(weights))
            project = project.mul_(weights.gamma[:, None])
            project_bias = project_bias * weights.gamma
        if weights.grn_beta is not None:
            grn_beta = project_bias @ weights.project
            project = project.addr_(project_bias, weights.grn_beta)
        # In the order of BlockWeights; GRN's factor is not multiplied in.
        before_project = (depthwise, depthwise_bias, norm, norm_bias, expand, expand_bias)
        return None, *before_project, project, project_bias, gamma, None, grn_beta
