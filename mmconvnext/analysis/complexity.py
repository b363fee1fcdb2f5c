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
    """The model of a config, in eval mode on the meta device: shapes without memory.

    It computes layer by layer, as the model is defined, and as the paper counts.
    """
    init_default_scope(config.get('default_scope', 'mmengine'))
    with torch.device('meta'):
        model = MODELS.build(ConfigDict(config.model)).eval()
    for module in model.modules():
        if hasattr(module, 'fast'):
            module.fast = False
    return model


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


def count_detector(
    config: Config, height: int, width: int, *, proposals: int = 1000, masks: int = 100
) -> Complexity:
    """Count a two-stage detector as the paper's COCO table does.

    Args:
        config: Config of a Mask R-CNN or Cascade Mask R-CNN.
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        proposals: RoIs that go through each box head.
        masks: RoIs that go through each mask head.
    """
    model = build_on_meta(config)
    image = torch.empty(1, model.backbone.in_channels, height, width, device='meta')
    # RoIAlign, which counts nothing, needs boxes; features of its shape do.
    macs = count_macs(nn.Sequential(model.backbone, model.neck, model.rpn_head), image)
    roi_head = model.roi_head
    for extractors, heads, rois in (
        (roi_head.bbox_roi_extractor, roi_head.bbox_head, proposals),
        (roi_head.mask_roi_extractor, roi_head.mask_head, masks),
    ):
        for extractor, head in zip(_stages(extractors), _stages(heads)):
            size = extractor.roi_layers[0].output_size
            features = torch.empty(rois, extractor.out_channels, *size, device='meta')
            macs += count_macs(head, features)
    return Complexity(macs, count_parameters(model))


def _stages(module: nn.Module) -> list[nn.Module]:
    """A cascade's modules, or the one there is."""
    return list(module) if isinstance(module, nn.ModuleList) else [module]


def count_macs(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in ``model(*inputs)``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def count_parameters(model: nn.Module) -> int:
    """Parameters, frozen ones included, buffers not."""
    return sum(parameter.numel() for parameter in model.parameters())
