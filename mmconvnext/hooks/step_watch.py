"""Check every optimizer step before it is taken."""

import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmconvnext.errors import ArgumentError, DivergenceError
from mmconvnext.hooks.outcome import told_everywhere
from mmconvnext.hooks.signals import agreed, weightier
from mmconvnext.registry import HOOKS

# A loss scale of up to 2^24 is at 1 after this number of halvings; gradients that still overflow
# are then not caused by the scale.
_MOST_SKIPPED = 50
_IMAGES_NAMED = 8
_LARGEST = torch.finfo(torch.float32).max


@HOOKS.register_module()
class StepWatchHook(Hook):
    """Keeps NaN and infinity out of the weights, and makes all processes stop at the same step.

    Before each step the loss, the gradient norm and a signal to save or stop are read from the
    device together, shared between all processes, and handled:

    - If the loss or the norm is not finite, the step is not taken and the run ends with
      :class:`~mmconvnext.errors.DivergenceError`. Under mixed precision, if only the norm is not
      finite, the scaler handles it: the step is skipped and counted in the log.
    - A signal is stored in ``agreed`` after the step, for
      :class:`.InterruptionHook`.

    It needs mmconvnext's optimizer wrappers, which :class:`.Runner` uses automatically.

    Args:
        tolerate: Maximal number of consecutive steps that are skipped because they are not
            finite. Batch norms are restored to their state before such a step.
    """

    priority = 'VERY_HIGH'

    def __init__(self, tolerate: int = 0) -> None:
        if not isinstance(tolerate, int) or tolerate < 0:
            raise ArgumentError(f'tolerate: expected an integer of 0 or more, got {tolerate!r}')
        self.tolerate = tolerate
        self.agreed = 0  # the signal that all processes handle after this step
        self.skipped_by_scaler = 0
        self._in_a_row = 0
        self._scaler_in_a_row = 0
        # For the iterations since the last step (several with accumulation):
        self._losses: list[dict[str, Sequence[Tensor]]] = []
        self._images: list[str] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._forward_hook = None
        self._at_zero = 0  # consecutive iterations with a learning rate of 0

    def before_train(self, runner: Runner) -> None:
        self._runner = runner
        if not hasattr(runner.optim_wrapper, 'watch'):
            runner.logger.warning(
                f'{type(runner.optim_wrapper).__name__}: divergence is not checked, and signals '
                'are handled at the end of the iteration'
            )
            return
        runner.optim_wrapper.watch = self.look
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._forward_hook = model.register_forward_hook(self._remember_losses, with_kwargs=True)
        if self.tolerate:
            self._buffers = [(b, b.clone()) for b in model.buffers() if b.is_floating_point()]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        self.agreed = 0
        if self._forward_hook is not None:
            self._images += _images(data_batch)
        self._look_at_rates(runner)

    def after_train_iter(self, runner: Runner, **_: object) -> None:
        if not hasattr(runner.optim_wrapper, 'watch'):
            self.agreed = agreed(runner.signals.pending) if hasattr(runner, 'signals') else 0
        for buffer, before in self._buffers:
            # With accumulation, a non-finite batch would change the batch norms until the step,
            # and their running statistics forever.
            buffer.copy_(buffer.where(torch.isfinite(buffer), before))
        if self.skipped_by_scaler:
            runner.message_hub.update_scalar('train/skipped_by_scaler', self.skipped_by_scaler)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        # Before EMAHook swaps the weights back: from now on signals wait for a step.
        if hasattr(runner, 'signals'):
            runner.signals.at_once = None

    def after_train(self, runner: Runner) -> None:
        if self._forward_hook is not None:
            self._forward_hook.remove()
            runner.optim_wrapper.watch = None

    def look(self, loss: Tensor, norm: Tensor, scaled: bool) -> tuple[float, bool]:
        """Return the gradient norm, and whether to take the step.

        ``loss``, of the iterations since the last step, and ``norm``, of the unscaled gradients,
        are scalars. ``scaled`` means that a scaler handles overflowing gradients.

        Raises:
            DivergenceError: too many consecutive steps are not finite.
        """
        try:
            return self._decided(loss, norm, scaled)
        finally:
            self._losses, self._images = [], []

    def _decided(self, loss: Tensor, norm: Tensor, scaled: bool) -> tuple[float, bool]:
        bad_loss, bad_norm, self.agreed, number = self._read(loss, norm)
        if not bad_loss and not bad_norm:
            self._in_a_row = self._scaler_in_a_row = 0
            for buffer, before in self._buffers:
                before.copy_(buffer)
            return number, True
        if scaled and not bad_loss:
            self.skipped_by_scaler += 1
            self._scaler_in_a_row += 1
            if self._scaler_in_a_row < _MOST_SKIPPED:
                return number, False
        self._in_a_row += 1
        if self._in_a_row > self.tolerate:
            raise told_everywhere(DivergenceError(self._told(loss, number)))
        self._runner.logger.warning(
            f'{self._told(loss, number)}; step skipped, {self._in_a_row} of at most '
            f'{self.tolerate} in a row'
        )
        for buffer, before in self._buffers:
            buffer.copy_(before)
        return number, False

    def _read(self, loss: Tensor, norm: Tensor) -> tuple[bool, bool, int, float]:
        """Read all values from the device and the other processes at once."""
        pending = self._runner.signals.pending if hasattr(self._runner, 'signals') else 0
        loss, norm = loss.float(), norm.to(loss.device).float()
        bad = [~torch.isfinite(value) for value in (loss, norm)]
        values = torch.stack([*bad, torch.full_like(norm, pending), norm])
        if get_world_size() == 1:
            rows = [values.tolist()]
        else:  # a value from each process: a maximum would lose NaN and the order of signals
            everyone = [torch.empty_like(values) for _ in range(get_world_size())]
            torch.distributed.all_gather(everyone, values)
            rows = torch.stack(everyone).tolist()
        bad_loss, bad_norm, signals, norms = zip(*rows)
        return any(bad_loss), any(bad_norm), weightier(*map(int, signals)), norms[0]

    def _remember_losses(self, model: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        if isinstance(output, Mapping) and kwargs.get('mode') == 'loss':
            terms = {k: v for k, v in output.items() if 'loss' in k}  # those that mmengine sums
            terms = {k: [v] if torch.is_tensor(v) else v for k, v in terms.items()}
            self._losses.append({k: [one.detach() for one in v] for k, v in terms.items()})

    def _told(self, loss: Tensor, norm: float) -> str:
        """Return one line: iteration, loss and its terms, norm, images and what to do."""
        runner = self._runner
        everyone = all_gather_object((loss.item(), self._terms(), self._images))
        wrong = [one for one in everyone if not math.isfinite(one[0])] or everyone
        images = [image for one in wrong for image in one[2]]
        named, more = ', '.join(images[:_IMAGES_NAMED]) or 'unnamed', len(images) - _IMAGES_NAMED
        named += f' and {more} more' if more > 0 else ''
        last = runner.message_hub.runtime_info.get('last_ckpt')
        return (
            f'iteration {runner.iter + 1}: expected a finite loss and gradients, got loss '
            f'{wrong[0][0]:.4g} ({", ".join(wrong[0][1]) or "its terms are unknown"}), gradient '
            f'norm {norm:.4g}; images: {named}; no step was taken with it; last good '
            f'checkpoint: {last or "none yet"}; lower the learning rate, clip gradients '
            '(optim_wrapper.clip_grad), or skip such steps '
            '(default_hooks.step_watch.tolerate=N)'
        )

    def _terms(self) -> list[str]:
        """Return the loss terms of the first non-finite iteration since the last step."""
        numbers = [{k: _number(v) for k, v in terms.items()} for terms in self._losses]
        wrong = [one for one in numbers if not all(map(math.isfinite, one.values()))] or numbers
        return [f'{name} {value:.4g}' for name, value in wrong[0].items()] if wrong else []

    def _look_at_rates(self, runner: Runner) -> None:
        rates = [rate for group in runner.optim_wrapper.get_lr().values() for rate in group]
        wrong = next((rate for rate in rates if not abs(rate) < _LARGEST), None)  # NaN, too
        if wrong is not None:
            raise told_everywhere(
                DivergenceError(
                    f'iteration {runner.iter + 1}: expected a finite learning rate, got '
                    f'{wrong:.4g}; see optim_wrapper.optimizer.lr and param_scheduler'
                )
            )
        self._at_zero = 0 if any(rates) else self._at_zero + 1
        if self._at_zero != 2:  # a warm-up may begin with one such iteration
            return
        left = runner.max_iters - runner.iter
        runner.logger.warning(
            f'the learning rate is 0 from iteration {runner.iter + 1}, and the remaining {left} '
            "iterations have no effect: param_scheduler's `end` is before the end of the run"
        )


def _number(values: Sequence[Tensor]) -> float:
    return float(sum(one.float().mean() for one in values))


def _images(batch: object) -> list[str]:
    """Return the paths of a batch's images, from data samples that have a path."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    paths = [getattr(sample, 'img_path', None) for sample in samples or []]
    return [str(path) for path in paths if path]
