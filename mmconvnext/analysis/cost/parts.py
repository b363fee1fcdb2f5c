"""Count multiply-accumulates and parameters of a model's parts, which add up to the total."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmconvnext.analysis.cost.complexity import Complexity, forward_passes

# MACs that belong to no part, such as convolutions that a model calls as functions.
OTHER = 'other'
STEM = 'backbone stem'


def count_parts(model: nn.Module, height: int, width: int, **rois: int) -> dict[str, Complexity]:
    """Count each part of a model on the meta device, in the order of the model.

    The parts of a ConvNeXt are the stem and the stages, each with the downsampling before it and
    the output norm after it. Each head of a cascade is one part.
    """
    parameters: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parameters[part_of(name, model)] += parameter.numel()
    owners = {module: part_of(name, model) for name, module in model.named_modules() if name}
    macs: Counter[str] = Counter()
    for module, inputs in forward_passes(model, height, width, **rois):
        macs.update(_count_by_owner(module, inputs, owners))
    first = {part.split()[0]: place for place, part in reversed([*enumerate(parameters)])}
    parts = sorted(parameters, key=lambda part: (first[part.split()[0]], part != STEM, part))
    parts += [OTHER] if macs[OTHER] else []
    return {part: Complexity(macs[part], parameters[part]) for part in parts}


def part_of(name: str, model: nn.Module) -> str:
    """Return the part to which a parameter or module belongs, by its name in the model."""
    root, *rest = name.split('.')
    if root == 'backbone' and hasattr(model.backbone, 'downsample_layers'):
        return _part_of_convnext(*rest)
    if root == 'roi_head' and rest:
        # Only its heads have parameters; in a cascade they are numbered.
        numbered = len(rest) > 1 and rest[1].isdigit()
        return f'{rest[0]} {int(rest[1]) + 1}' if numbered else rest[0]
    return root


def _part_of_convnext(kind: str = '', number: str = '', *_: str) -> str:
    if kind.startswith('norm'):
        kind, number = 'norm', kind.removeprefix('norm')
    if not number:
        return 'backbone'
    if kind == 'downsample_layers' and number == '0':
        return STEM
    return f'backbone stage {int(number) + 1}'


def _count_by_owner(
    module: nn.Module, inputs: Tensor, owners: Mapping[nn.Module, str]
) -> Counter[str]:
    """Return the MACs of ``module(inputs)`` by the part that owns the layer."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(inputs)
    flops = {name: sum(of.values()) for name, of in counter.get_flop_counts().items()}
    found: Counter[str] = Counter()
    for name, layer in module.named_modules(prefix=type(module).__name__):
        if layer in owners and not [*layer.children()]:
            found[owners[layer]] += flops.get(name, 0)
    found[OTHER] = counter.get_total_flops() - found.total()
    return Counter({part: flops // 2 for part, flops in found.items()})
