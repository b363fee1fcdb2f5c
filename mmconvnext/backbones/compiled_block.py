"""The compiled block: compiled once for all blocks of a stage, in seconds instead of minutes.

``torch.compile`` of a whole model compiles every block separately. Here the block is one function,
whose arguments are what differs between blocks: the weights and the samples of stochastic depth.
"""

import functools
from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.backbones.fused_block.weights import BlockWeights
from mmconvnext.backbones.layers import global_response_norm, layer_norm

BACKEND = 'inductor'


def compiled_block(
    x: Tensor, weights: BlockWeights, eps: float, grn_eps: float, factor: Tensor | None
) -> Tensor:
    """Return ``x + branch(x) · factor``, computed as in the plain block.

    Shapes: x (N, C, H, W) → the same; factor (N, 1, 1, 1).
    """
    return _compiled(len(weights.depthwise))(x, weights, eps, grn_eps, factor)


@functools.cache
def _compiled(channels: int) -> Callable[..., Tensor]:
    # torch limits how often one function is recompiled; each stage has its own function.
    function = FunctionType(_block.__code__.replace(), globals(), f'block_of_{channels}')
    return torch.compile(function, backend=BACKEND)


def _block(
    x: Tensor, weights: BlockWeights, eps: float, grn_eps: float, factor: Tensor | None
) -> Tensor:
    branch = F.conv2d(
        x,
        weights.depthwise,
        weights.depthwise_bias,
        padding=weights.depthwise.shape[-1] // 2,
        groups=weights.depthwise.shape[0],
    )
    branch = layer_norm(branch.permute(0, 2, 3, 1), weights.norm, weights.norm_bias, eps)
    branch = F.gelu(F.linear(branch, weights.expand, weights.expand_bias))
    if weights.grn_gamma is not None and weights.grn_beta is not None:
        branch = global_response_norm(branch, weights.grn_gamma, weights.grn_beta, grn_eps)
    branch = F.linear(branch, weights.project, weights.project_bias)
    if weights.gamma is not None:
        branch = branch * weights.gamma
    branch = branch.permute(0, 3, 1, 2)
    return x + (branch if factor is None else branch * factor.to(branch.dtype))
