"""How far the results of two steps are from each other."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmconvnext.errors import UserError


class Tolerances(NamedTuple):
    """Bounds of :func:`differences`."""

    outputs: float = 1e-4
    gradients: float = 1e-4


def differences(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> tuple[float, float]:
    """Largest differences of the outputs and of the gradients; shapes may differ by ones.

    Of an output ``max|a - b| / max|a|``; of integers, such as labels, the share that differs. Of a
    gradient ``‖a - b‖ / ‖a‖``, in which a ReLU that rounding switches on or off does not decide
    alone; its norm counts as at least a thousandth of the largest, since some gradients are zero
    but for rounding.

    Raises:
        UserError: a result is missing or of another size.
    """
    gradients = {name: x for name, x in expected.items() if name.startswith('gradient of ')}
    floor = 1e-3 * max((x.norm().item() for x in gradients.values()), default=0.0)
    found = {False: [0.0], True: [0.0]}
    for name, a in expected.items():
        b = got.get(name)
        if b is None or b.numel() != a.numel():
            shape = 'none' if b is None else f'shape {tuple(b.shape)}'
            raise UserError(f'{name}: expected shape {tuple(a.shape)}, got {shape}')
        one = _difference(a, b.reshape(a.shape), floor if name in gradients else None)
        found[name in gradients].append(one)
    # Not Python's own maximum, which may pass a nan over.
    largest = (torch.tensor(x, dtype=torch.float64).max().item() for x in found.values())
    return next(largest), next(largest)


def _difference(a: Tensor, b: Tensor, floor: float | None) -> float:
    """Of a gradient, with the least that its norm counts as, or of an output, without."""
    if not a.numel():
        return 0.0
    if not a.is_floating_point():
        return (a != b).float().mean().item()
    a, b = a.float(), b.float()  # squares of float16 overflow
    if floor is None:
        return (a - b).abs().max().item() / (a.abs().max().item() or 1)
    return (a - b).norm().item() / (max(a.norm().item(), floor) or 1)
