"""Resume a run with the config's schedule instead of the checkpoint's."""

import copy
import math
import reprlib
import warnings
from collections.abc import Iterator, Mapping

from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner

# Counters of a scheduler; its other values are set when it is built.
_COUNTERS = ('last_step', '_global_step', '_last_value')
_Groups = list[dict[str, object]]


class PlannedSchedule:
    """The config's parameter groups and schedulers, stored before a checkpoint is loaded.

    On resuming, mmengine takes both from the checkpoint. A longer schedule in the config would then
    only change the length of the run, and the learning rate would stay 0 until its end.
    """

    def __init__(self, runner: Runner) -> None:
        self._groups = [_settings(group) for group in runner.optim_wrapper.param_groups]
        self._schedulers: list[_ParamScheduler] = list(runner.param_schedulers or [])
        self._states = [copy.deepcopy(one.state_dict()) for one in self._schedulers]

    @staticmethod
    def suits(runner: Runner) -> bool:
        """Return whether the run has one optimizer, whose schedulers need no metrics."""
        schedulers = runner.param_schedulers
        return (
            hasattr(runner.optim_wrapper, 'optimizer')
            and isinstance(schedulers, list | None)
            and not any(getattr(one, 'need_val_args', False) for one in schedulers or [])
        )

    def go_on(self, runner: Runner, saved: object) -> list[str]:
        """Set groups and schedulers to the config's schedule after ``runner.iter`` iterations.

        If the checkpoint's schedule equals the config's, its numbers are used unchanged. The
        runner's optimizer has the checkpoint's groups; ``saved`` are the checkpoint's
        ``param_schedulers``. Returns a line for each difference.
        """
        groups = runner.optim_wrapper.param_groups
        before = [_settings(group) for group in groups]
        scheduled = {one.param_name for one in self._schedulers}
        if 'momentum' in scheduled and 'betas' in groups[0]:
            scheduled.add('betas')  # mmengine's momentum schedulers change Adam's first beta
        for group, planned in zip(groups, self._groups):
            for key in [k for k in group if k not in ('params', *planned)]:
                del group[key]
            group.update(copy.deepcopy(planned))
        notices = list(_changed_settings(before, self._groups, scheduled))
        saved = saved if isinstance(saved, list) else []
        differs = list(self._differences(saved, runner, before, scheduled))
        if differs:
            self._replay(runner)
            rate = max(runner.optim_wrapper.param_groups[0].get('lr', math.nan), 0.0)
            notices += [f'{one}: the config is used' for one in differs]
            notices.append(f'the learning rate continues at {rate:.4g}')
        else:
            for scheduler, state in zip(self._schedulers, saved):
                vars(scheduler).update({key: state[key] for key in _COUNTERS})
            for group, old in zip(groups, before):
                group.update({name: old[name] for name in scheduled})
        return notices

    def _differences(
        self, saved: list, runner: Runner, before: _Groups, scheduled: set[str]
    ) -> Iterator[str]:
        if len(saved) != len(self._states):
            ours = f'{len(self._states)} schedulers in the config'
            yield f'param_scheduler: {ours}, {len(saved)} in the checkpoint'
            return
        triples = zip(self._schedulers, self._states, saved)
        for place, (scheduler, ours, theirs) in enumerate(triples):
            name = f'param_scheduler[{place}] ({type(scheduler).__name__})'
            if not isinstance(theirs, Mapping) or ours.keys() != theirs.keys():
                yield f'{name}: another type in the checkpoint'
                continue
            for key in sorted(ours.keys() - {*_COUNTERS}):
                if not _same(ours[key], theirs[key]):
                    in_file = f'{_short(theirs[key])} in the checkpoint'
                    yield f'{name}: {key} {_short(ours[key])}, {in_file}'
            steps = runner.epoch if scheduler.by_epoch else runner.iter
            if not _counts_up_to(theirs, steps):
                yield f'{name}: the checkpoint is at another step than its iteration'
        values = [group.get(name) for group in before for name in scheduled]
        if not all(map(_is_finite, values)):
            yield 'learning rates in the checkpoint are not finite numbers'

    def _replay(self, runner: Runner) -> None:
        """Step the schedulers from the beginning to the current iteration."""
        in_turn = sorted(self._schedulers, key=lambda one: one.by_epoch)  # iterations before epochs
        for scheduler, state in zip(self._schedulers, self._states):
            scheduler.load_state_dict(copy.deepcopy(state))
        length = len(runner.train_dataloader) if runner.epoch else 0
        with warnings.catch_warnings():
            # Schedulers warn at their first step because the optimizer has not stepped.
            warnings.filterwarnings('ignore', 'Detected call of `scheduler.step')
            for iteration in range(1, runner.iter + 1):
                epochs, rest = divmod(iteration, length) if length else (0, 1)
                epoch_ends = rest == 0 and epochs <= runner.epoch
                for scheduler in in_turn:
                    if epoch_ends or not scheduler.by_epoch:
                        scheduler.step()


def _settings(group: Mapping) -> dict[str, object]:
    return {key: copy.deepcopy(value) for key, value in group.items() if key != 'params'}


def _changed_settings(before: _Groups, planned: _Groups, scheduled: set[str]) -> Iterator[str]:
    """Yield each option of the groups that differs, except options that schedulers change."""
    told: set[str] = set()
    for old, new in zip(before, planned):
        for key in new.keys() - told - scheduled - {f'initial_{name}' for name in scheduled}:
            if not _same(old.get(key), new[key]):
                told.add(key)
                yield (
                    f'optimizer: {key} {_short(new[key])}, {_short(old.get(key))} in the '
                    'checkpoint: the config is used'
                )


def _is_finite(value: object) -> bool:
    if isinstance(value, list | tuple):  # Adam's betas
        return all(map(_is_finite, value))
    return isinstance(value, int | float) and math.isfinite(value)


def _same(one: object, other: object) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    try:
        return type(one) is type(other) and bool(one == other)
    except (RuntimeError, ValueError):  # tensors and arrays with several elements
        return False


def _counts_up_to(state: Mapping, steps: int) -> bool:
    last, count, values = (state.get(key) for key in _COUNTERS)
    counted = type(last) is type(count) is int and count == steps and -1 <= last <= count
    return counted and isinstance(values, list)


def _short(value: object) -> str:
    return f'{value:.4g}' if isinstance(value, float) else reprlib.repr(value)
