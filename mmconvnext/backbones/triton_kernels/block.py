"""The ConvNeXt block as one autograd function: few passes over memory, and few calls.

In 16 bits a GPU waits for Python before it waits for memory. So the whole block is one autograd
node, and one kernel prepares its weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmconvnext.backbones.fused_block.weights import BlockWeights
from mmconvnext.backbones.triton_kernels import residual
from mmconvnext.backbones.triton_kernels.activation import (
    Response,
    activated,
    activation_gradient,
)
from mmconvnext.backbones.triton_kernels.depthwise_norm import (
    depthwise_norm,
    input_gradient,
    norm_gradient,
    weight_gradient,
)
from mmconvnext.backbones.triton_kernels.weight_gradients import Sums, gradients
from mmconvnext.backbones.triton_kernels.weights import LowWeights, scales


class Settings(NamedTuple):
    """The settings that are not tensors: the branch's dtype and the epsilons."""

    low: torch.dtype
    eps: float
    grn_eps: float


def block(x: Tensor, weights: BlockWeights, factor: Tensor | None, settings: Settings) -> Tensor:
    """``x + branch(x) · factor``.

    Shapes: x (N, H, W, C), contiguous; factor (N, 1, 1, 1) → (N, H, W, C). Differentiable once.
    """
    with _on(x):
        if torch.is_grad_enabled():
            return _Block.apply(x, factor, settings, *weights)
        return _forward(x, factor, settings, weights, keeps=False)[0]


@contextmanager
def _on(x: Tensor) -> Iterator[None]:
    """Make ``x``'s device current, where Triton launches, and turn autocast off."""
    with torch.cuda.device_of(x), torch.autocast(x.device.type, enabled=False):
        yield


class _Kept(NamedTuple):
    """Tensors for the backward pass; maps are in 16 bits."""

    x: Tensor
    normed: Tensor
    rstd: Tensor
    before: Tensor  # GELU
    hidden: Tensor
    branch: Tensor  # `x` if the backward pass does not read it
    taps: Tensor
    expand: Tensor
    project: Tensor
    norms: Tensor | None  # of GRN's response, as the next
    factor: Tensor | None


def _forward(
    x: Tensor, factor: Tensor | None, settings: Settings, weights: BlockWeights, keeps: bool
) -> tuple[Tensor, _Kept | None]:
    low = LowWeights.of(weights, settings.low)
    normed, rstd, low_x = depthwise_norm(x, low.taps, low.depthwise_bias, settings.eps)
    before = F.linear(normed, low.expand, low.expand_bias)
    # In the same memory if it is not read again.
    hidden = torch.empty_like(before) if keeps else before
    response: Response | tuple[None, None] = (None, None)
    if weights.grn_gamma is None:
        torch.ops.aten.gelu.out(before, out=hidden)
    else:
        response = Response.of(before, weights.grn_gamma, settings.grn_eps)
        activated(before, response, hidden)
    branch = F.linear(hidden, low.project, low.project_bias)
    kept, apart = None, _apart(weights, settings)
    if keeps:
        maps = (low_x, normed, rstd, before, hidden, low_x if apart is None else branch)
        kept = _Kept(*maps, low.taps, low.expand, low.project, *response)
    del normed, before, hidden
    return residual.add(x, branch, factor, apart, _dtype(x, weights)), kept


def _apart(weights: BlockWeights, settings: Settings) -> Tensor | None:
    """Return the layer scale if it is not multiplied into the second linear layer."""
    return None if scales(weights, settings.low) else weights.gamma


def _dtype(x: Tensor, weights: BlockWeights) -> torch.dtype:
    """Return the dtype of the plain block's result."""
    return x.dtype if weights.gamma is None else torch.promote_types(x.dtype, weights.gamma.dtype)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, factor: Tensor | None, settings: Settings, *parameters: Tensor | None
    ) -> Tensor:
        out, kept = _forward(x, factor, settings, BlockWeights._make(parameters), keeps=True)
        ctx.save_for_backward(factor, *parameters, *(kept or ()))
        ctx.settings, ctx.dtype = settings, x.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        count = len(BlockWeights._fields)
        factor, *tensors = ctx.saved_tensors
        weights, kept = BlockWeights._make(tensors[:count]), _Kept._make(tensors[count:])
        learns = any(ctx.needs_input_grad[3:])
        with _on(grad):
            grad = grad.contiguous()
            g, of_weights = _branch_backward(grad, factor, ctx.settings, weights, kept, learns)
            of_x = None
            if ctx.needs_input_grad[0]:
                of_x = input_gradient(g, kept.taps, grad, ctx.dtype)
        return of_x, None, None, *(of_weights.get(name) for name in BlockWeights._fields)


def _branch_backward(
    grad: Tensor,
    factor: Tensor | None,
    settings: Settings,
    weights: BlockWeights,
    kept: _Kept,
    learns: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the gradient of the depthwise convolution, and the parameters' gradients by name."""
    apart = _apart(weights, settings)
    branch, project_sums = residual.backward(grad, kept.branch, factor, apart, settings.low)
    rows = branch.flatten(0, 2)
    g = (rows @ kept.project).view_as(kept.before)
    response = along = of_grn_gamma = None
    if weights.grn_gamma is not None and kept.norms is not None and kept.factor is not None:
        response = Response(kept.norms, kept.factor)
        along, of_grn_gamma = response.backward(kept.before, g, weights.grn_gamma, settings.grn_eps)
    hidden, expand_sums = activation_gradient(g, kept.before, response, along)
    g = (hidden.flatten(0, 2) @ kept.expand).view_as(kept.normed)
    g, depthwise_sums = norm_gradient(g, kept.normed, kept.rstd)
    if not learns:
        return g, {}
    of_weights = gradients(
        weights,
        of_depthwise=weight_gradient(g, kept.x),
        of_expand=hidden.flatten(0, 2).t() @ kept.normed.flatten(0, 2),
        of_project=rows.t() @ kept.hidden.flatten(0, 2),
        sums=Sums(depthwise_sums, expand_sums, project_sums),
    )
    if of_grn_gamma is not None and weights.grn_gamma is not None:
        of_weights['grn_gamma'] = of_grn_gamma.to(weights.grn_gamma.dtype)
    return g, of_weights
