"""Saves and stops where a signal asks for it."""

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import EMAHook, Hook

from mmconvnext.hooks.checkpoint import CheckpointHook
from mmconvnext.hooks.signals import SAVE, STOP, Signals, Stopped
from mmconvnext.hooks.step_watch import StepWatchHook
from mmconvnext.registry import HOOKS


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
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        for hook in averages:
            hook.after_val_epoch(runner)  # the weights that are trained, back into the model
        number = self._signals.pending
        self._save(runner, number, runner.iter)
        if number in STOP:
            raise Stopped(number)
        for hook in averages:
            hook.before_val_epoch(runner)

    def _follow(self, runner, number: int, done: int) -> None:
        self._save(runner, number, done)
        if number in STOP:
            barrier()  # nobody ends, which makes launchers end all, before the file is there
            raise Stopped(number)

    def _save(self, runner, number: int, done: int) -> None:
        if self._signals is not None:
            self._signals.settle()
        name = number.name if hasattr(number, 'name') else _NAMES.get(number, str(number))
        if self._checkpoints is None:
            runner.logger.warning(f'{name}: there is no mmconvnext.CheckpointHook to save with')
            return
        path = self._checkpoints.save_state(runner, done)
        if is_main_process():
            further = 'go on with --resume' if number in STOP else 'going on'
            runner.logger.warning(f'{name}: saved {path} after {done} iterations; {further}')


_NAMES = {int(number): number.name for number in (SAVE, *STOP)}


def _only(runner, kind: type) -> object | None:
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)
