"""The fused ConvNeXt block: one operation with fewer passes over memory and fewer kept tensors.

It computes the same as :class:`~mmconvnext.backbones.block.ConvNeXtBlock`, in another order:

- everything after the depthwise convolution works on single pixels (except for the norms of Global
  Response Normalization), so it runs in parts that fit into a CPU's cache (``parts.py``);
- for training, layer scale is multiplied into the second linear layer and the shift of Global
  Response Normalization into its bias (``weights.py``);
- samples that stochastic depth drops are not computed;
- the backward pass keeps the block's input, the depthwise convolution's output and the hidden
  values before GELU, and recomputes the rest part by part (``backward.py``).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.forms import branch_dtype
from mmconvnext.backbones.fused_block.backward import BackwardPass
from mmconvnext.backbones.fused_block.forward import Kept, forward
from mmconvnext.backbones.fused_block.weights import BlockSettings, BlockWeights

__all__ = ['BlockSettings', 'BlockWeights', 'fused_block']


def fused_block(x: Tensor, weights: BlockWeights, settings: BlockSettings) -> Tensor:
    """Return ``x + branch(x)``, computed as described above.

    Shapes: (N, C, H, W) → (N, C, H, W), channels-last in memory; ``x`` in another layout is copied
    first. Differentiable once. Under mixed precision the branch is computed in autocast's dtype
    with statistics in float32. The result has the same dtype as in the plain block.
    """
    device = x.device.type
    low = branch_dtype(x)
    x = x.permute(0, 2, 3, 1).contiguous()
    tensors = [x, *(weight for weight in weights if weight is not None)]
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            out = _FusedBlock.apply(x, low, settings, *weights)
        else:
            out, _ = forward(x, low, weights, settings, keep=False)
    return out.permute(0, 3, 1, 2)


class _FusedBlock(torch.autograd.Function):
    """:func:`fused_block` for (N, H, W, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: torch.dtype, settings: BlockSettings, *weights):
        out, kept = forward(x, low, BlockWeights(*weights), settings, keep=True)
        assert kept is not None
        fixed = (*weights, kept.x, kept.depthwise, kept.norms)
        ctx.save_for_backward(*fixed, *kept.hidden, *kept.branch)
        ctx.parts = len(kept.hidden)
        ctx.settings = settings
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):
        saved = ctx.saved_tensors
        count = len(BlockWeights._fields)
        weights = BlockWeights(*saved[:count])
        x, depthwise, norms, *parts = saved[count:]
        kept = Kept(x, depthwise, norms, parts[: ctx.parts], parts[ctx.parts :])
        needs_x, _, _, *needs = ctx.needs_input_grad
        with torch.autocast(grad.device.type, enabled=False):
            backward = BackwardPass(kept, weights, ctx.settings, BlockWeights(*needs))
            grad_x, grads = backward(grad.contiguous(), needs_x)
        return grad_x, None, None, *grads
