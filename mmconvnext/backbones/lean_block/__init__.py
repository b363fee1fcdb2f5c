"""The lean ConvNeXt block, for GPUs: whole-batch operations in few passes over memory.

It computes the same as :class:`~mmconvnext.backbones.block.ConvNeXtBlock`. The differences:

- In 16 bits LayerNorm reads and writes 16-bit values without float32 copies; its kernels compute
  the statistics in float32. They accept only 16-bit weights, which would lose precision, so the
  affine part is multiplied into the first linear layer instead.
- Layer scale is multiplied into the second linear layer, the shift of Global Response
  Normalization (GRN) into its bias.
- The backward passes of GRN and of the residual write maps in the maps' own dtype.
- Stochastic depth computes all samples and draws on the device: shapes are fixed, so that a step
  can be captured as a CUDA graph.
- If :mod:`~mmconvnext.backbones.triton_kernels` can run (in 16 bits on CUDA), they compute the
  whole block instead.
"""

from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmconvnext.backbones import triton_kernels
from mmconvnext.backbones.forms import branch_dtype
from mmconvnext.backbones.fused_block.weights import BlockWeights, exact
from mmconvnext.backbones.lean_block.weights import LeanWeights


class LeanSettings(NamedTuple):
    """Values other than parameters: the epsilons and the factor of stochastic depth."""

    eps: float
    grn_eps: float
    factor: Tensor | None = None  # (N, 1, 1, 1), on the branch of each sample
    triton_kernels: bool = False


def lean_block(x: Tensor, weights: BlockWeights, settings: LeanSettings) -> Tensor:
    """Return ``x + branch(x)``, computed as described above.

    Shapes: (N, C, H, W) → (N, C, H, W), channels-last in memory; ``x`` in another layout is copied
    first. Differentiable once. The result has the same dtype as in the plain block.
    """
    low = branch_dtype(x)
    x = x.permute(0, 2, 3, 1).contiguous()
    in_triton = settings.triton_kernels and triton_kernels.run_on(x, low)
    if in_triton and triton_kernels.suit(weights):
        return _in_triton(x, weights, settings, low).permute(0, 3, 1, 2)
    with torch.autocast(x.device.type, enabled=False):
        lean = LeanWeights.of(weights, low)
        branch = _branch(x.to(low), lean, weights.grn_gamma, settings)
        if weights.gamma is not None:
            x = x.to(torch.promote_types(x.dtype, weights.gamma.dtype))
        return _add(x, branch, lean.gamma, settings.factor).permute(0, 3, 1, 2)


def _in_triton(
    x: Tensor, weights: BlockWeights, settings: LeanSettings, low: torch.dtype
) -> Tensor:
    # Not imported at the top, because Triton is optional.
    from mmconvnext.backbones.triton_kernels.block import Settings, block

    return block(x, weights, settings.factor, Settings(low, settings.eps, settings.grn_eps))


def _branch(
    x: Tensor, weights: LeanWeights, grn_gamma: Tensor | None, settings: LeanSettings
) -> Tensor:
    """Return the branch of (N, H, W, C), without a layer scale that is not multiplied in."""
    x = _depthwise_norm(x, weights, settings.eps)
    x = F.gelu(F.linear(x, weights.expand, weights.expand_bias))
    if grn_gamma is not None:
        x = _Respond.apply(x, grn_gamma, settings.grn_eps)
    return F.linear(x, weights.project, weights.project_bias)


def _depthwise_norm(x: Tensor, weights: LeanWeights, eps: float) -> Tensor:
    padding = weights.depthwise.shape[-1] // 2
    x = F.conv2d(
        x.permute(0, 3, 1, 2),
        weights.depthwise,
        weights.depthwise_bias,
        padding=padding,
        groups=len(weights.depthwise),
    )
    x = x.permute(0, 2, 3, 1)
    return torch.native_layer_norm(x, x.shape[-1:], weights.norm, weights.norm_bias, eps)[0]


class _Respond(torch.autograd.Function):
    """GRN without its shift: ``x · (1 + γ · N(G(x)))`` for (N, H, W, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, eps: float) -> Tensor:
        norms = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=exact(x.dtype))
        divisor = norms.mean(-1, keepdim=True) + eps
        response = 1 + gamma * (norms / divisor)
        ctx.save_for_backward(x, gamma, norms, divisor, response)
        return torch.mul(x, response, out=torch.empty_like(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, gamma, norms, divisor, response = ctx.saved_tensors
        relative = norms / divisor
        of_response = (grad * x).sum((1, 2), keepdim=True, dtype=norms.dtype)
        of_relative = of_response * gamma / divisor
        of_norms = of_relative - (of_relative * relative).mean(-1, keepdim=True)
        of_norms = torch.where(norms > 0, of_norms / norms, 0)
        grad_x = torch.mul(grad, response, out=torch.empty_like(grad))
        # In float32, because `of_norms` is large for a channel of nearly zero norm; rounded once.
        torch.addcmul(grad_x, x, of_norms, out=grad_x)
        return grad_x, (of_response * relative).sum((0, 1, 2)), None


def _add(x: Tensor, branch: Tensor, *factors: Tensor | None) -> Tensor:
    """Return ``x`` plus the branch times the given factors."""
    given = [factor for factor in factors if factor is not None]
    return _AddScaled.apply(x, branch, reduce(torch.mul, given)) if given else x + branch


class _AddScaled(torch.autograd.Function):
    """``x + branch · scale`` for (N, H, W, C); ``scale`` is broadcast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(branch if ctx.needs_input_grad[2] else None, scale)
        ctx.dtype = branch.dtype
        return torch.addcmul(x, branch, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        branch, scale = ctx.saved_tensors
        of_branch = torch.mul(grad, scale, out=torch.empty_like(grad, dtype=ctx.dtype))
        of_scale = None if branch is None else (grad * branch).sum_to_size(scale.shape)
        return grad, of_branch, of_scale
