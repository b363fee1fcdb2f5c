"""Count multiply-accumulates and parameters as the ConvNeXt paper does.

Only convolutions and linear layers count, without biases; one multiply-accumulate (MAC) is what
the paper calls a FLOP. Models are on the meta device, so that even a huge model needs no memory.
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

# The numbers of proposals and masks with which the papers count a two-stage detector.
PROPOSALS, MASKS = 1000, 100


class Complexity(NamedTuple):
    """Multiply-accumulates of one forward pass, and parameters."""

    macs: int
    parameters: int


def build_on_meta(config: Config) -> nn.Module:
    """Build the model of a config, in eval mode on the meta device: shapes without memory.

    Blocks compute layer by layer, as the paper counts. Raises UserError if the model cannot be
    built.
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
    """Turn any error of the code inside into a UserError, and hide its warnings."""
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
    # A copy, because mmseg changes its argument.
    try:
        with torch.device('meta'):
            return MODELS.build(ConfigDict(copy.deepcopy(model)))
    except RuntimeError as error:
        if 'meta tensors' not in str(error):
            raise
        # Some constructors, such as Swin's, read the values of a tensor.
        return MODELS.build(ConfigDict(copy.deepcopy(model))).to('meta')


def count(config: Config, height: int, width: int, **rois: int) -> Complexity:
    """Count the model of a config as the papers do, on one image of that size in pixels.

    MACs exclude a segmentor's auxiliary head, which does not run in a test; parameters include it.
    ``rois`` are the options of :func:`forward_passes`.
    """
    model = build_on_meta(config)
    passes = forward_passes(model, height, width, **rois)
    return Complexity(sum(count_macs(*one) for one in passes), count_parameters(model))


def forward_passes(
    model: Any, height: int, width: int, *, proposals: int = PROPOSALS, masks: int = MASKS
) -> list[tuple[nn.Module, torch.Tensor]]:
    """Return the modules to call, with their inputs, to count one test on the meta device.

    A model with a ``roi_head`` is a two-stage detector: ``proposals`` RoIs go through each box head
    and ``masks`` RoIs through each mask head. Any other model is called as a whole.
    """
    image = torch.empty(1, input_channels(model), height, width, device='meta')
    if not hasattr(model, 'roi_head'):
        return [(model, image)]
    # RoIAlign, which has no MACs, needs boxes; features of its output shape replace it.
    dense = nn.Sequential(model.backbone, model.neck, model.rpn_head)
    heads = rois_of_heads(model.roi_head, proposals, masks)
    return [(dense, image), *((head, torch.empty(rois, device='meta')) for head, rois in heads)]


def input_channels(model: Any) -> int:
    """Return the image channels of a model with a backbone; 3 if the backbone does not tell."""
    return getattr(model.backbone, 'in_channels', 3)


def rois_of_heads(
    roi_head: nn.Module, boxes: int, masks: int
) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Return each box and mask head, with the shape (RoIs, C, h, w) of its input from RoIAlign."""
    found: list[tuple[nn.Module, tuple[int, ...]]] = []
    extractor: Any
    for kind, rois in (('bbox', boxes), ('mask', masks)):
        for extractor, head in stages(roi_head, kind):
            size = extractor.roi_layers[0].output_size
            found.append((head, (rois, extractor.out_channels, *size)))
    return found


def count_macs(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Return the multiply-accumulates of convolutions and linear layers in ``model(*inputs)``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, including frozen ones, without buffers."""
    return sum(parameter.numel() for parameter in model.parameters())
