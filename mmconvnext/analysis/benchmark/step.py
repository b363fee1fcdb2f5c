"""One step of a model, and how far the results of two are from each other."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmconvnext.errors import UserError

# With the given seed; what it returns is compared between variants.
Step = Callable[[int], Mapping[str, Tensor]]

# Of float16, whose small gradients would be zeros; as a GradScaler has it.
LOSS_SCALE = 1024.0


class ModelStep:
    """One step of a model on fixed inputs: forward, and in training backward.

    The gradient that enters the outputs is random and fixed: the derivative of a random weighted
    sum of them. A scalar (a loss) has the weight 1.

    Args:
        model: In the mode it shall run in.
        forward: Runs the model; gives named outputs.
        names: Common name of each parameter that is compared, by its name in the model; None
            where they are the common ones.
        leaves: Inputs, by name, whose gradients are asked for as well.
        amp: Dtype of autocast, which ``forward`` then runs under.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[], Mapping[str, Tensor]],
        names: Mapping[str, str] | None = None,
        leaves: dict[str, Tensor] | None = None,
        amp: torch.dtype | None = None,
    ) -> None:
        self.model, self.forward, self.amp = model, forward, amp
        parameters = dict(model.named_parameters())
        names = dict(zip(parameters, parameters)) if names is None else names
        self.leaves = {common: parameters[own] for own, common in names.items()} | (leaves or {})
        self.weights: list[Tensor] = []

    def __call__(self, seed: int) -> Mapping[str, Tensor]:
        torch.manual_seed(seed)  # of dropout and stochastic depth
        device = next(self.model.parameters()).device.type
        # Weights are cast anew in each step, as in training, where they change.
        with (
            torch.inference_mode(not self.model.training),
            torch.autocast(device, self.amp, enabled=self.amp is not None),
        ):
            outputs = self.forward()
        if not self.model.training:
            return outputs
        roots = [value for value in outputs.values() if value.requires_grad]
        self.weights = self.weights or [_fixed_weights(root, self.amp) for root in roots]
        torch.autograd.backward(roots, self.weights)
        results = {name: value.detach() for name, value in outputs.items()}
        for name, leaf in self.leaves.items():
            if leaf.grad is not None:
                results[f'gradient of {name}'] = leaf.grad
            leaf.grad = None
        self.model.zero_grad(set_to_none=True)
        return results


def _fixed_weights(output: Tensor, amp: torch.dtype | None) -> Tensor:
    if output.ndim == 0:
        return torch.full_like(output, LOSS_SCALE if amp == torch.float16 else 1.0)
    values = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
    # In the layout of the output, as the layer after it would send its gradient.
    return torch.empty_like(output).copy_(values)


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
