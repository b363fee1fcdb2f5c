"""Saves and stops where a signal asks for it."""

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
from mmconvnext.hooks.checkpoint import CheckpointHook
from mmconvnext.hooks.outcome import shared_outcome
from mmconvnext.hooks.signals import STOP, Signals, agreed
from mmconvnext.hooks.step_watch import StepWatchHook
from mmconvnext.registry import HOOKS

_PATIENCE = 25  # seconds that a process waits in an evaluation for another one to write


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Follows the signals that :class:`.Runner` takes.

    SIGTERM and SIGINT save after the next optimizer step, which all processes have agreed on, and
    end the run with :class:`~mmconvnext.hooks.signals.Stopped`; SIGUSR1 saves and goes on.

    During an evaluation no step is under way, and the weights saved are those of the last one. One
    process does so at once; several agree after each batch. An evaluation that was cut off is made
    up for when the run goes on.
    """

    priority = 'LOWEST'  # after all that belongs to an iteration, and after EMAHook's exchange

    def __init__(self) -> None:
        self._signals: Signals | None = None
        self._checkpoints: CheckpointHook | None = None
        self._watch: StepWatchHook | None = None
        self._saving = False
        self._common_batches = 0  # of an evaluation, that all processes have

    def before_train(self, runner: Runner) -> None:
        self._signals = signals = getattr(runner, 'signals', None)
        self._checkpoints = _only(runner, CheckpointHook)
        self._watch = _only(runner, StepWatchHook)
        if _evaluation_is_due(runner):
            runner.logger.warning(
                f'The evaluation after {runner.iter} iterations was not completed here: '
                'evaluating first'
            )
            runner.val_loop.run()
        if signals is not None and runner.iter:
            # Data that was trained on already is passed over now, which may take long.
            self._act_at_once(signals, lambda: signals.settle(signals.pending))

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
        while number := agreed(signals.pending):
            with _trained_weights(runner):
                self._follow(runner, signals, number, runner.iter)
        if batch_idx + 1 == self._common_batches:
            # From here on processes have different things to do: a barrier might wait for ever.
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
        """Follow signals in the process that got them, whatever the others do."""
        if self._saving:
            return  # a signal that comes meanwhile is followed by the loop below
        self._saving = True
        try:
            while number := signals.pending:
                with _trained_weights(runner):
                    self._save(runner, number, runner.iter, together=False)
                if not self._is_written():
                    return  # the first process got no signal: the next step's to follow
                signals.settle(number)
        finally:
            self._saving = False

    def _is_written(self) -> bool:
        """Whether the first process has written; launchers end all when one process ends."""
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
            barrier()  # nobody ends, which makes launchers end all, before the file is there
        signals.settle(number)

    def _save(self, runner: Runner, number: int, done: int, *, together: bool = True) -> None:
        name = signal.Signals(number).name
        if self._checkpoints is None:
            runner.logger.warning(f'{name}: there is no mmconvnext.CheckpointHook to save with')
            return
        path = self._checkpoints.save_state(runner, done, together=together)
        if is_main_process():
            further = 'go on with --resume' if number in STOP else 'going on'
            runner.logger.warning(f'{name}: saved {path} after {done} iterations; {further}')


def _evaluation_is_due(runner: Runner) -> bool:
    """Whether the run goes on from a step after which it evaluates, and did not to the end."""
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
    """Where it is written after how many iterations the last evaluation came to its end."""
    return Path(runner.work_dir) / EVALUATED


@contextmanager
def _trained_weights(runner: Runner) -> Iterator[None]:
    """Have the trained weights in the model, not those that an EMAHook evaluates."""
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    for hook in averages:
        hook.after_val_epoch(runner)
    yield
    for hook in averages:
        hook.before_val_epoch(runner)


def _only(runner: Runner, kind: type) -> Any:
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)
