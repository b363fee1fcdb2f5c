"""Saves and stops where a signal asks for it."""

import os
import signal
import time

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import EMAHook, Hook

from mmconvnext.hooks.checkpoint import CheckpointHook
from mmconvnext.hooks.signals import STOP, Signals, Stopped
from mmconvnext.hooks.step_watch import StepWatchHook
from mmconvnext.registry import HOOKS

_PATIENCE = 25  # seconds that a process waits in an evaluation for another one to write


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Follows the signals that :class:`mmconvnext.Runner` takes.

    SIGTERM and SIGINT save after the next optimizer step, which all processes have agreed on, and
    end the run with :class:`~mmconvnext.hooks.signals.Stopped`; SIGUSR1 saves and goes on. During
    an evaluation they do so at once, since no step is under way: the weights are those of the last
    one.
    """

    priority = 'LOWEST'  # after all that belongs to an iteration, and after EMAHook's exchange

    def __init__(self) -> None:
        self._signals: Signals | None = None
        self._checkpoints: CheckpointHook | None = None
        self._watch: StepWatchHook | None = None
        self._saving = False

    def before_train(self, runner) -> None:
        self._signals = getattr(runner, 'signals', None)
        self._checkpoints = _only(runner, CheckpointHook)
        self._watch = _only(runner, StepWatchHook)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        if self._watch is None or not self._watch.agreed:
            return
        self._follow(runner, self._watch.agreed, runner.iter + 1)

    def before_val_epoch(self, runner) -> None:
        if self._signals is None:
            return
        self._signals.at_once = lambda: self._during_evaluation(runner)
        if self._signals.pending:
            self._signals.at_once()

    def _during_evaluation(self, runner) -> None:
        if self._saving:
            return  # a signal that comes meanwhile is followed by the loop below
        self._saving = True
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        try:
            while number := self._signals.pending:
                for hook in averages:
                    hook.after_val_epoch(runner)  # the trained weights, back into the model
                self._save(runner, number, runner.iter)
                if number in STOP:
                    self._wait_for_the_writer()
                    raise Stopped(number)
                for hook in averages:
                    hook.before_val_epoch(runner)
        finally:
            self._saving = False

    def _wait_for_the_writer(self) -> None:
        """Have no process end, at which launchers end all, before the first one has written.

        Processes are not in step during an evaluation: a barrier might wait for ever.
        """
        end = time.monotonic() + _PATIENCE
        path = self._checkpoints and self._checkpoints.last_ckpt
        while path and not is_main_process() and time.monotonic() < end:
            if os.path.isfile(path):
                return
            time.sleep(0.1)

    def _follow(self, runner, number: int, done: int) -> None:
        self._save(runner, number, done)
        if number in STOP:
            barrier()  # nobody ends, which makes launchers end all, before the file is there
            raise Stopped(number)

    def _save(self, runner, number: int, done: int) -> None:
        if self._signals is not None:
            self._signals.settle()
        name = signal.Signals(number).name
        if self._checkpoints is None:
            runner.logger.warning(f'{name}: there is no mmconvnext.CheckpointHook to save with')
            return
        path = self._checkpoints.save_state(runner, done)
        if is_main_process():
            further = 'go on with --resume' if number in STOP else 'going on'
            runner.logger.warning(f'{name}: saved {path} after {done} iterations; {further}')


def _only(runner, kind: type) -> object | None:
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)
