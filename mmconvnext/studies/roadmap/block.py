"""The block of every network of the roadmap: bottleneck, inverted, or depthwise first.

Source: arXiv 2201.03545v2, sections 2.3 to 2.6, figures 3 and 4.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmconvnext.backbones.layers import LayerNorm2d, StochasticDepth
from mmconvnext.studies.roadmap.steps import Design


class RoadmapBlock(nn.Module):
    """Three convolutions with norms and activations, and a shortcut.

    Shapes: (N, channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    def __init__(
        self,
        design: Design,
        channels: int,
        out_channels: int,
        stride: int,
        drop_path: float,
        layer_scale_init_value: float,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.activations = design.activations
        convs = [*_convolutions(design, channels, out_channels, stride)]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(
            normalisation(design, conv.out_channels) if position in design.norms else nn.Identity()
            for position, conv in enumerate(convs)
        )
        self.act = design.activation()
        scaled = design.layer_scale and layer_scale_init_value > 0
        scale = torch.full((out_channels,), float(layer_scale_init_value))
        self.gamma = nn.Parameter(scale) if scaled else None
        self.drop_path = StochasticDepth(drop_path)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out_channels:
            # The paper does not say whether this norm remains when blocks have fewer norms. It
            # remains, which is our choice: the paper counts the norms of the branch.
            conv = convolution(design, channels, out_channels, stride=stride, normed=True)
            self.shortcut = nn.Sequential(conv, normalisation(design, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            contexts = lambda: (nullcontext(), _uncounted(self))  # noqa: E731
            return checkpoint(self._compute, x, use_reentrant=False, context_fn=contexts)
        return self._compute(x)

    def _compute(self, x: Tensor) -> Tensor:
        branch = x
        for position, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            branch = norm(conv(branch))
            if position in self.activations and position < 2:
                branch = self.act(branch)
        if self.gamma is not None:
            branch = branch * self.gamma.view(-1, 1, 1)
        x = self.shortcut(x) + self.drop_path(branch)
        return self.act(x) if 2 in self.activations else x


def _convolutions(design: Design, channels: int, out: int, stride: int) -> Iterator[nn.Conv2d]:
    """Yield the convolutions of a block in order; one of them has the kernel and the stride."""
    if design.block == 'bottleneck':
        widths, spatial = (channels, out // 4, out // 4, out), 1
    elif design.block == 'inverted':
        widths, spatial = (channels, 4 * out, 4 * out, out), 1
    else:
        widths, spatial = (channels, channels, 4 * out, out), 0
    for position, (before, after) in enumerate(pairwise(widths)):
        options: dict[str, Any] = dict(normed=position in design.norms)
        if position == spatial:
            groups = before if design.depthwise else 1
            options |= dict(kernel=design.kernel, stride=stride, groups=groups)
        yield convolution(design, before, after, **options)


def convolution(
    design: Design,
    channels: int,
    out_channels: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    normed: bool,
) -> nn.Conv2d:
    """Return a convolution with "same" padding; ``normed`` means that a norm follows."""
    # BatchNorm removes any bias, and ResNet has none; LayerNorm does not remove it.
    bias = not (normed and design.norm == 'batch')
    return nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)


def normalisation(design: Design, channels: int) -> nn.Module:
    """Return a design's norm: BatchNorm with ResNet's epsilon, LayerNorm with ConvNeXt's."""
    if design.norm == 'batch':
        return nn.BatchNorm2d(channels)
    return LayerNorm2d(channels, eps=1e-6)


@contextmanager
def _uncounted(block: nn.Module) -> Iterator[None]:
    """Keep BatchNorms from counting a batch again while a block is recomputed."""
    norms: list[Any] = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
