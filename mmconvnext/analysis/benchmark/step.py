"""One step of a model."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Runs with the given seed; the returned values are compared between variants.
Step = Callable[[int], Mapping[str, Tensor]]
# Loss scale for float16, so that small gradients do not underflow; as in GradScaler.
LOSS_SCALE = 1024.0


class ModelStep:
    """One step of a model on fixed inputs: forward, and in training mode backward.

    The gradient of the outputs is random and fixed: that of a weighted sum of them with random
    weights. A scalar (a loss) has the weight 1.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[], Mapping[str, Tensor]],  # runs the model; returns named outputs
        names: Mapping[str, str] | None = None,  # parameter ↦ common name; None: unchanged
        leaves: dict[str, Tensor] | None = None,  # inputs whose gradients are computed too
        amp: torch.dtype | None = None,  # autocast's dtype; None: no autocast
    ) -> None:
        self.model, self.forward, self.amp = model, forward, amp
        parameters = dict(model.named_parameters())
        names = dict(zip(parameters, parameters)) if names is None else names
        self.leaves = {common: parameters[own] for own, common in names.items()} | (leaves or {})
        self.weights: list[Tensor] = []

    def __call__(self, seed: int) -> Mapping[str, Tensor]:
        torch.manual_seed(seed)  # for dropout and stochastic depth
        device = next(self.model.parameters()).device.type
        # Weights are cast in each step, as in training, where they change.
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
    # In the memory layout of the output, as the next layer's gradient would be.
    return torch.empty_like(output).copy_(values)


def loss(model: Any, images: Tensor, samples: list) -> dict[str, Tensor]:
    """Return the sum of a segmentor's or detector's losses, as ``loss``."""
    total, _ = model.parse_losses(model(images, samples, mode='loss'))
    return {'loss': total}
