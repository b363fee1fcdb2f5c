"""The deploy form: constant factors of inference, folded into the weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Replaced(NamedTuple):
    """A parameter that was replaced by a constant or by None."""

    module: nn.Module
    name: str
    original: nn.Parameter


def replace(module: nn.Module, name: str, value: Tensor | None) -> Replaced:
    """Replace a parameter by a constant; None removes it."""
    replaced = Replaced(module, name, getattr(module, name))
    if value is not None:
        value = nn.Parameter(value.to(replaced.original), requires_grad=False)
    setattr(module, name, value)
    return replaced


def _exact(x: Tensor) -> Tensor:
    # On the CPU, because not every device supports float64.
    return x.detach().cpu().double()


@torch.no_grad()
def fold_norm(norm: nn.LayerNorm, layer: nn.Linear | nn.Conv2d) -> list[Replaced]:
    """Fold the affine part of a LayerNorm into the next layer, which must not pad.

    ``W (w · x + b) + c = (W · w) x + (W b + c)``, with w and b for each input channel.
    """
    assert layer.bias is not None
    weight = _exact(layer.weight)
    per_channel = (1, -1) + (1,) * (weight.ndim - 2)
    scaled = weight * _exact(norm.weight).view(per_channel)
    shift = (weight * _exact(norm.bias).view(per_channel)).flatten(1).sum(1)
    return [
        replace(layer, 'weight', scaled),
        replace(layer, 'bias', _exact(layer.bias) + shift),
        replace(norm, 'weight', None),
        replace(norm, 'bias', None),
    ]


@torch.no_grad()
def fold_layer_scale(layer: nn.Linear, owner: nn.Module, name: str) -> list[Replaced]:
    """Fold the layer scale ``owner.name``, (C,), into the previous linear layer."""
    scale = _exact(getattr(owner, name))
    return [
        replace(layer, 'weight', _exact(layer.weight) * scale[:, None]),
        replace(layer, 'bias', _exact(layer.bias) * scale),
        replace(owner, name, None),
    ]


def restore(replaced: list[Replaced]) -> None:
    """Restore the original parameters: the same objects, so that optimizers stay valid."""
    for module, name, original in replaced:
        setattr(module, name, original)
