"""LayerNorm of 16-bit maps outside of the block, with no float32 copies around it."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.fused_block.weights import exact


def lean_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of (..., C) in 16 bits, in its dtype; differentiable once.

    The kernel takes its statistics in float32, but accepts only weights in the dtype of ``x``: the
    affine part is a pass of its own and keeps its dtype.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _LeanNorm.apply(x.contiguous(), weight, bias, eps)


class _LeanNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normed, _, rstd = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        ctx.save_for_backward(normed, rstd, weight)
        return torch.addcmul(bias, normed, weight, out=torch.empty_like(x))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normed, rstd, weight = ctx.saved_tensors
        grad = grad.contiguous()
        with torch.autocast(grad.device.type, enabled=False):
            pixels = tuple(range(grad.ndim - 1))
            # The zeros make it float32: products of scaled gradients leave float16's range.
            zeros = torch.zeros_like(weight, dtype=exact(grad.dtype))
            of_weight = torch.addcmul(zeros, grad, normed).sum(pixels)
            of_bias = grad.sum(pixels, dtype=exact(grad.dtype))
            upper = torch.mul(grad, weight, out=torch.empty_like(grad))
            # What is normed has mean 0 and deviation 1: its own backward pass, over the deviation.
            of_x, _, _ = torch.ops.aten.native_layer_norm_backward(
                *(upper, normed, normed.shape[-1:], torch.zeros_like(rstd), torch.ones_like(rstd)),
                *(None, None, [True, False, False]),
            )
        return of_x.mul_(rstd), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None
