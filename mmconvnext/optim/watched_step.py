"""Optimizer wrappers that ask a callback before each step."""

from collections.abc import Callable

import torch
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor
from torch.nn.utils import get_total_norm

from mmconvnext.registry import OPTIM_WRAPPERS

# Takes the loss and the gradient norm, scalars on the device, and whether the loss was scaled;
# returns the norm as a number, and whether to take the step.
Watch = Callable[[Tensor, Tensor, bool], tuple[float, bool]]


class _Watched(MMEngineOptimWrapper):
    """Calls ``watch`` with the loss and the gradient norm before each step, and may skip the step.

    Without a ``watch`` it behaves like mmengine's class. With it, only ``watch`` reads the norm
    from the device, also for clipping.
    """

    watch: Watch | None = None
    _loss: Tensor | None = None
    _norm: Tensor | None = None

    def update_params(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        if self.watch is not None:
            # Summed over all iterations of a step; NaN and infinity persist in a sum.
            self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        super().update_params(loss, *args, **kwargs)

    def _ask(self, watch: Watch, scaled: bool) -> bool:
        norm = self._norm if self._norm is not None else self._measured_norm()
        loss, self._loss, self._norm = self._loss, None, None
        if loss is None:  # step() was called directly, without update_params
            loss = norm.new_zeros(())
        number, steps = watch(loss, norm, scaled)
        if self.clip_grad_kwargs and self.clip_func is torch.nn.utils.clip_grad_norm_:
            self.message_hub.update_scalar(f'train/{self.grad_name}', number)
        return steps

    def _measured_norm(self) -> Tensor:
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        return get_total_norm(gradients) if gradients else torch.zeros(())

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group['params']]

    def _clip_grad(self) -> None:
        if self.watch is None:
            super()._clip_grad()
            return
        parameters = [p for p in self._parameters() if p.requires_grad and p.grad is not None]
        if not parameters:
            return
        if self.clip_func is not torch.nn.utils.clip_grad_norm_:
            self._norm = self._measured_norm()  # clipping by value would hide NaN and infinity
        norm = self.clip_func(parameters, **self.clip_grad_kwargs)
        if self._norm is None:
            self._norm = norm


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_Watched):
    """mmengine's OptimWrapper with a callback before each step; see :class:`_Watched`."""

    def step(self, **kwargs: object) -> None:
        if self.watch is None:
            super().step(**kwargs)
            return
        if self.clip_grad_kwargs:
            self._clip_grad()
        if self._ask(self.watch, scaled=False):
            self.optimizer.step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(_Watched, MMEngineAmpOptimWrapper):
    """mmengine's AmpOptimWrapper with a callback before each step; see :class:`_Watched`.

    As in mmengine, the scaler skips a step whose gradients overflowed in 16 bits. It uses the norm
    instead of its own check, which would wait for the device again.
    """

    def step(self, **kwargs: object) -> None:
        if self.watch is None:
            super().step(**kwargs)
            return
        self.loss_scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            self._clip_grad()
        if self._ask(self.watch, scaled=self.loss_scaler.is_enabled()):
            self.optimizer.step(**kwargs)
        self.loss_scaler.update(self._scale_update_param)
