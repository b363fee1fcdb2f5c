"""Multiply-accumulates and parameters, counted as the ConvNeXt paper counts.

Convolutions and linear layers only, no bias, one multiply-accumulate (MAC) where the paper says
FLOP. The models live on the meta device, so that a huge one costs no memory.
"""

from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Complexity(NamedTuple):
    """Multiply-accumulates of one forward pass, and parameters."""

    macs: int
    parameters: int


def build_on_meta(config: Config) -> nn.Module:
    """The model of a config, in eval mode on the meta device: shapes without memory."""
    init_default_scope(config.get('default_scope', 'mmengine'))
    with torch.device('meta'):
        return MODELS.build(ConfigDict(config.model)).eval()


def count_segmentor(config: Config, height: int, width: int) -> Complexity:
    """Count a segmentor as the paper's ADE20K table does.

    The MACs leave the auxiliary head out, which is not run in a test; the parameters keep it.

    Args:
        config: Config of a segmentor.
        height: Of the input, in pixels.
        width: Of the input, in pixels.
    """
    model = build_on_meta(config)
    channels = model.backbone.in_channels
    image = torch.empty(1, channels, height, width, device='meta')
    return Complexity(count_macs(model, image), count_parameters(model))


def count_macs(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in ``model(*inputs)``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def count_parameters(model: nn.Module) -> int:
    """Parameters, frozen ones included, buffers not."""
    return sum(parameter.numel() for parameter in model.parameters())
