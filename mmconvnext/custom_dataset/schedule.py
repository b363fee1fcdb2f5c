"""Learning rate and length of a run on other data and with another batch size."""

import math
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmconvnext.errors import UserError

_FARTHEST = 8  # times the base's batch, up to which scaling is linear without a word
_WARM_UP = 20  # a warm-up takes at most one part in so many of a run


@dataclass(frozen=True)
class Length:
    """How long a run is: exactly one of ``iterations`` and ``epochs``, or None for the base's."""

    iterations: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Schedule:
    """What a run's length and batch size change in a config.

    ``entries`` are values by name of the entry, ``comments`` say why, ``notices`` are for the
    person.
    """

    entries: dict[str, object]
    comments: dict[str, str]
    notices: list[str]


def plan(
    base: Config, images: int, batch_size: int | None, devices: int, length: Length
) -> Schedule:
    """Scale the learning rate by the batch size, and the schedule by the length of the run.

    ``images`` is the number to train on, ``batch_size`` that of a device, None for the base's.
    Raises UserError where the config has no loop that is known here.
    """
    if batch_size is None:
        batch_size = base.train_dataloader.get('batch_size', 1)
    total = batch_size * devices
    schedule = Schedule({'batch_size': batch_size}, {}, [])
    if total > images:
        schedule.notices.append(
            f'{total} images an iteration, and only {images} to train on: each comes several '
            'times in one, or an epoch is one iteration; take a smaller --batch-size'
        )
    _plan_rate(base, batch_size, devices, schedule)
    _plan_length(base, math.ceil(images / total), length, schedule)
    return schedule


def _plan_rate(base: Config, batch_size: int, devices: int, schedule: Schedule) -> None:
    total = batch_size * devices
    original = (base.get('auto_scale_lr') or {}).get('base_batch_size')
    if not original:
        schedule.notices.append(
            'the base does not say for which batch size its learning rate is '
            '(auto_scale_lr.base_batch_size): it was left as it is'
        )
        return
    rate = base.optim_wrapper.optimizer.lr
    if total > _FARTHEST * original:
        schedule.notices.append(
            f'{total} images an iteration are {total / original:g} times the {original} of the '
            'base: the learning rate is scaled likewise, which is more than was tried; lower it'
        )
    scaled = float(f'{rate * total / original:.6g}')
    schedule.entries['optim_wrapper'] = dict(optimizer=dict(lr=scaled))
    schedule.comments['optim_wrapper'] = (
        f'{devices} × {batch_size} images an iteration = {total}; the rate {rate:g} of the base '
        f'is for {original}:\n{rate:g} × {total} / {original} = {scaled:g}'
    )
    schedule.entries['auto_scale_lr'] = dict(base_batch_size=total)
    schedule.comments['auto_scale_lr'] = 'so that --auto-scale-lr scales from here on, not twice'


def _plan_length(base: Config, an_epoch: int, length: Length, schedule: Schedule) -> None:
    """Loop, scheduler and intervals; ``an_epoch`` is an epoch's number of iterations."""
    loop = base.train_cfg
    by_epoch = loop.get('type') == 'EpochBasedTrainLoop' or bool(loop.get('by_epoch'))
    unit = 'max_epochs' if by_epoch else 'max_iters'
    if not isinstance(loop.get(unit), int):
        raise UserError(
            f'train_cfg: expected EpochBasedTrainLoop with max_epochs or IterBasedTrainLoop with '
            f'max_iters in the base, got {dict(loop)}; choose another base'
        )
    old = loop[unit]
    if by_epoch:
        new = length.epochs or math.ceil((length.iterations or 0) / max(1, an_epoch)) or old
    else:
        new = length.iterations or (length.epochs or 0) * an_epoch or old
    iterations = new * an_epoch if by_epoch else new
    if new != old:
        interval = max(1, min(new, round(loop.get('val_interval', 1) * new / old)))
        schedule.entries['train_cfg'] = {unit: new, 'val_interval': interval}
        hooks = {'checkpoint': dict(interval=interval)}
        if iterations < 500:
            hooks['logger'] = dict(interval=max(1, iterations // 20))
        schedule.entries['default_hooks'] = hooks
    given = base.get('param_scheduler') or []
    given = given if isinstance(given, list) else [given]
    steps = _rescaled(given, old, new, iterations, by_epoch)
    if steps != given:
        epochs = f'{new} epochs of {an_epoch} iteration{"s" * (an_epoch != 1)} = {iterations}'
        schedule.entries['param_scheduler'] = steps
        schedule.comments['param_scheduler'] = (
            f'{epochs if by_epoch else f"{iterations} iterations"}; the warm-up takes at most a '
            f"{_WARM_UP}th of them. mmengine's schedulers reach their end one step early, hence "
            'the 1 in `end`.'
        )
    if not by_epoch and iterations > 300 * an_epoch and new == old:
        schedule.notices.append(
            f'{iterations:,} iterations are {iterations // an_epoch:,} epochs of these images; '
            'give --iters or --epochs for a shorter run'
        )


def _rescaled(
    schedulers: list[dict], old: int, new: int, iterations: int, by_epoch: bool
) -> list[dict]:
    """The schedulers for a run of the new length."""
    warm_up = max(
        (s.get('end', 0) for s in schedulers if s['type'] == 'LinearLR' and _in_iterations(s)),
        default=0,
    )
    shorter = min(warm_up, max(1, iterations // _WARM_UP) + 1)
    changed = [dict(step) for step in schedulers]
    for step in changed:
        for key in step.keys() & {'begin', 'end', 'milestones', 'T_max'}:
            if _in_iterations(step) and step[key] == warm_up:
                step[key] = shorter
            elif _in_iterations(step) and by_epoch and key == 'end':
                step[key] = iterations + 1  # whatever the base's epochs were long
            else:
                step[key] = _moved(step[key], old, new)
    return changed


def _in_iterations(scheduler: dict) -> bool:
    return not scheduler.get('by_epoch', True)


def _moved(place: int | list[int], old: int, new: int) -> Any:
    """Where a place in the old schedule lies in the new one."""
    if isinstance(place, list | tuple):
        return sorted({max(1, min(_moved(item, old, new), new - 1)) for item in place})
    # What ends with the run, or a step behind it, goes on to.
    return new + (place - old) if place >= old else round(place * new / old)
