"""The deploy form: factors that inference would apply again and again, folded into weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Replaced(NamedTuple):
    """A parameter that another one, or None, stands in for."""

    module: nn.Module
    name: str
    original: nn.Parameter


def replace(module: nn.Module, name: str, value: Tensor | None) -> Replaced:
    """Put ``value`` where a parameter is, as a constant; None leaves the module without it."""
    replaced = Replaced(module, name, getattr(module, name))
    if value is not None:
        value = nn.Parameter(value.to(replaced.original), requires_grad=False)
    setattr(module, name, value)
    return replaced


def _exact(x: Tensor) -> Tensor:
    # On the CPU, since not every device has float64.
    return x.detach().cpu().double()


@torch.no_grad()
def fold_norm(norm: nn.LayerNorm, layer: nn.Linear | nn.Conv2d) -> list[Replaced]:
    """Fold the affine part of a LayerNorm into the layer after it, which must not pad.

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
    """Fold the layer scale ``owner.name``, (C,), into the linear layer before it."""
    scale = _exact(getattr(owner, name))
    return [
        replace(layer, 'weight', _exact(layer.weight) * scale[:, None]),
        replace(layer, 'bias', _exact(layer.bias) * scale),
        replace(owner, name, None),
    ]


def restore(replaced: list[Replaced]) -> None:
    """Put every original back: the same objects, so that an optimizer still knows them."""
    for module, name, original in replaced:
        setattr(module, name, original)
