"""Save and stop a run on signals."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import (
    all_gather,
    barrier,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmconvnext.checkpoints.of_a_run import EVALUATED
from mmconvnext.checkpoints.whole import write_text_whole
from mmconvnext.hooks.checkpoint import CheckpointHook, is_sharded, is_updated
from mmconvnext.hooks.outcome import shared_outcome
from mmconvnext.hooks.signals import STOP, Signals, agreed
from mmconvnext.hooks.step_watch import StepWatchHook
from mmconvnext.registry import HOOKS

_PATIENCE = 25  # seconds that a process waits, in an evaluation, until another has written


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Handles the signals that :class:`.Runner` receives.

    SIGTERM and SIGINT save after the next optimizer step, at which all processes stop together, and
    end the run with :class:`~mmconvnext.hooks.signals.Stopped`. SIGUSR1 saves and continues.

    During an evaluation there is no next step, and the weights of the last step are saved. A single
    process saves immediately; several processes agree after each batch. A resumed run repeats an
    evaluation that was cut off.
    """

    priority = 'LOWEST'  # after all other hooks of an iteration, and after EMAHook's swap

    def __init__(self) -> None:
        self._signals: Signals | None = None
        self._checkpoints: CheckpointHook | None = None
        self._watch: StepWatchHook | None = None
        self._saving = False
        self._common_batches = 0  # batches of an evaluation that every process has

    def before_train(self, runner: Runner) -> None:
        self._signals = getattr(runner, 'signals', None)
        self._checkpoints = _only(runner, CheckpointHook)
        self._watch = _only(runner, StepWatchHook)
        if _evaluation_is_due(runner):
            runner.logger.warning(
                f'The evaluation after {runner.iter} iterations was not completed: evaluating first'
            )
            runner.val_loop.run()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        if self._signals is not None:
            self._signals.at_once = None

    def after_train_iter(self, runner: Runner, **_: object) -> None:
        if self._signals and self._watch and self._watch.agreed:
            self._follow(runner, self._signals, self._watch.agreed, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        if (signals := self._signals) is None:
            return
        if is_main_process():
            _note(runner).unlink(missing_ok=True)
        self._common_batches = 0
        if get_world_size() > 1:
            batches = all_gather(torch.tensor(len(runner.val_loop.dataloader)))
            self._common_batches = int(min(batches))
        if not self._common_batches:
            self._act_at_once(signals, lambda: self._alone_in_evaluation(runner, signals))

    def after_val_iter(self, runner: Runner, batch_idx: int, **_: object) -> None:
        if (signals := self._signals) is None or batch_idx >= self._common_batches:
            return
        while is_updated(runner) and (number := agreed(signals.pending)):
            with _trained_weights(runner):
                self._follow(runner, signals, number, runner.iter)
        if batch_idx + 1 == self._common_batches:
            # From here processes do different things: a barrier might wait forever.
            self._act_at_once(signals, lambda: self._alone_in_evaluation(runner, signals))

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self._signals is None:
            return
        with shared_outcome():
            if is_main_process():
                write_text_whole(f'{runner.iter}\n', _note(runner))

    def _act_at_once(self, signals: Signals, action: Callable[[], None]) -> None:
        signals.at_once = action
        if signals.pending:
            action()

    def _alone_in_evaluation(self, runner: Runner, signals: Signals) -> None:
        """Handle signals in the process that got them, independently of other processes."""
        if self._saving:
            return  # the loop below handles a signal that arrives meanwhile
        if not is_updated(runner) or (get_world_size() > 1 and is_sharded(runner)):
            return  # the next update handles it
        self._saving = True
        try:
            while number := signals.pending:
                with _trained_weights(runner):
                    self._save(runner, number, runner.iter, together=False)
                if not self._is_written():
                    return  # the first process got no signal: the next step handles it
                signals.settle(number)
        finally:
            self._saving = False

    def _is_written(self) -> bool:
        """Return whether the first process has written: launchers end all when one ends."""
        end = time.monotonic() + _PATIENCE
        path = self._checkpoints and self._checkpoints.last_ckpt
        while path and not is_main_process() and not os.path.isfile(path):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _follow(self, runner: Runner, signals: Signals, number: int, done: int) -> None:
        self._save(runner, number, done)
        if number in STOP:
            barrier()  # no process may end before the file exists: launchers would end all
        signals.settle(number)

    def _save(self, runner: Runner, number: int, done: int, *, together: bool = True) -> None:
        name = signal.Signals(number).name
        if self._checkpoints is None:
            runner.logger.warning(f'{name}: not saved, there is no mmconvnext.CheckpointHook')
            return
        path = self._checkpoints.save_state(runner, done, together=together)
        if is_main_process():
            further = 'continue with --resume' if number in STOP else 'continuing'
            runner.logger.warning(f'{name}: saved {path} after {done} iterations; {further}')


def _evaluation_is_due(runner: Runner) -> bool:
    """Return whether the run resumes at a step whose evaluation was not completed."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    known = by_epoch or isinstance(loop, IterBasedTrainLoop)
    if not known or not runner.iter or runner.val_loop is None:
        return False
    loop._decide_current_val_interval()
    done, last = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    if by_epoch and loop.iter != loop.epoch * len(loop.dataloader):
        return False
    if done < loop.val_begin or (done % loop.val_interval and done != last):
        return False
    note = _note(runner)
    evaluated = [note.read_text('utf-8').strip() if note.is_file() else None]
    broadcast_object_list(evaluated)
    return evaluated[0] != str(runner.iter)


def _note(runner: Runner) -> Path:
    """Return the file with the iteration of the last completed evaluation."""
    return Path(runner.work_dir) / EVALUATED


@contextmanager
def _trained_weights(runner: Runner) -> Iterator[None]:
    """Put the trained weights into the model instead of those that EMAHook evaluates."""
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    for hook in averages:
        hook.after_val_epoch(runner)
    yield
    for hook in averages:
        hook.before_val_epoch(runner)


def _only(runner: Runner, kind: type) -> Any:
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)
