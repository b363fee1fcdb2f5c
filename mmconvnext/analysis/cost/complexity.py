"""Multiply-accumulates and parameters, counted as the ConvNeXt paper counts.

Convolutions and linear layers only, no bias, one multiply-accumulate (MAC) where the paper says
FLOP. The models live on the meta device, so that a huge one costs no memory.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmconvnext.errors import UserError, first_line
from mmconvnext.roi_heads import stages

# What the papers count a two-stage detector with.
PROPOSALS, MASKS = 1000, 100


class Complexity(NamedTuple):
    """Multiply-accumulates of one forward pass, and parameters."""

    macs: int
    parameters: int


def build_on_meta(config: Config) -> nn.Module:
    """The model of a config, in eval mode on the meta device: shapes without memory.

    It computes layer by layer, as the model is defined, and as the paper counts. Raises UserError
    where the model cannot be built.
    """
    init_default_scope(config.get('default_scope', 'mmengine'))
    with building('model of the config:'):
        model = _without_values(config.model).eval()
    for module in model.modules():
        if hasattr(module, 'fast'):
            module.fast = False
    return model


@contextmanager
def building(what: str) -> Iterator[None]:
    """Turn what goes wrong in anybody's code into a UserError, and be silent of its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise UserError(f'{what} cannot be built, {kind} ({first_line(error)})') from error


def _without_values(model: ConfigDict) -> Any:
    # mmseg writes into what it is given.
    try:
        with torch.device('meta'):
            return MODELS.build(ConfigDict(copy.deepcopy(model)))
    except RuntimeError as error:
        if 'meta tensors' not in str(error):
            raise
        # Swin's constructor, for one, reads the values of a tensor.
        return MODELS.build(ConfigDict(copy.deepcopy(model))).to('meta')


def count(config: Config, height: int, width: int, **rois: int) -> Complexity:
    """Count the model of a config as the papers' tables do, on one image of that size in pixels.

    The MACs leave a segmentor's auxiliary head out, which is not run in a test; the parameters
    keep it. ``rois`` are those of :func:`forward_passes`.
    """
    model = build_on_meta(config)
    passes = forward_passes(model, height, width, **rois)
    return Complexity(sum(count_macs(*one) for one in passes), count_parameters(model))


def forward_passes(
    model: Any, height: int, width: int, *, proposals: int = PROPOSALS, masks: int = MASKS
) -> list[tuple[nn.Module, torch.Tensor]]:
    """Modules of a model on the meta device, and what to call each with, to count one test.

    A model with a ``roi_head`` is a two-stage detector, of which ``proposals`` RoIs go through each
    box head and ``masks`` through each mask head; any other is called as a whole.
    """
    image = torch.empty(1, input_channels(model), height, width, device='meta')
    if not hasattr(model, 'roi_head'):
        return [(model, image)]
    # RoIAlign, which counts nothing, needs boxes; features of its shape do.
    dense = nn.Sequential(model.backbone, model.neck, model.rpn_head)
    heads = rois_of_heads(model.roi_head, proposals, masks)
    return [(dense, image), *((head, torch.empty(rois, device='meta')) for head, rois in heads)]


def input_channels(model: Any) -> int:
    """Channels of the images of a model with a backbone; 3 where that does not say."""
    return getattr(model.backbone, 'in_channels', 3)


def rois_of_heads(
    roi_head: nn.Module, boxes: int, masks: int
) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Each box and mask head, and the shape (RoIs, C, h, w) of what RoIAlign gives it."""
    found: list[tuple[nn.Module, tuple[int, ...]]] = []
    extractor: Any
    for kind, rois in (('bbox', boxes), ('mask', masks)):
        for extractor, head in stages(roi_head, kind):
            size = extractor.roi_layers[0].output_size
            found.append((head, (rois, extractor.out_channels, *size)))
    return found


def count_macs(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in ``model(*inputs)``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def count_parameters(model: nn.Module) -> int:
    """Parameters, frozen ones included, buffers not."""
    return sum(parameter.numel() for parameter in model.parameters())
