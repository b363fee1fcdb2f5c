"""Adapt the learning rate and the run's length to other data and another batch size."""

import math
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmconvnext.errors import UserError

_FARTHEST = 8  # times the base's batch size, up to which no warning is given
_WARM_UP = 20  # a warm-up takes at most 1 / 20 of a run


@dataclass(frozen=True)
class Length:
    """The length of a run: ``iterations`` or ``epochs``; the base's length if both are None."""

    iterations: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Changes in a config for a run's length and batch size.

    ``entries`` are values by the entry's name, ``comments`` give reasons, ``notices`` are for the
    user.
    """

    entries: dict[str, object]
    comments: dict[str, str]
    notices: list[str]


def plan(
    base: Config, images: int, batch_size: int | None, devices: int, length: Length
) -> Schedule:
    """Scale the learning rate by the batch size, and the schedule by the length of the run.

    ``images`` is the number of training images; ``batch_size`` is per device, None for the base's.
    Raises UserError if the config's training loop is unknown.
    """
    if batch_size is None:
        batch_size = base.train_dataloader.get('batch_size', 1)
    total = batch_size * devices
    schedule = Schedule({'batch_size': batch_size}, {}, [])
    if total > images:
        schedule.notices.append(
            f'{total} images per iteration, but only {images} to train on: images repeat within an '
            'iteration, or an epoch is one iteration; use a smaller --batch-size'
        )
    _plan_rate(base, batch_size, devices, schedule)
    _plan_length(base, math.ceil(images / total), length, schedule)
    return schedule


def _plan_rate(base: Config, batch_size: int, devices: int, schedule: Schedule) -> None:
    total = batch_size * devices
    original = (base.get('auto_scale_lr') or {}).get('base_batch_size')
    if not original:
        schedule.notices.append(
            'the base has no auto_scale_lr.base_batch_size, the batch size for its learning '
            'rate: the rate was not changed'
        )
        return
    rate = base.optim_wrapper.optimizer.lr
    if total > _FARTHEST * original:
        schedule.notices.append(
            f'{total} images per iteration are {total / original:g} times the {original} of the '
            'base: the learning rate is scaled by the same factor, which was not tested; lower it'
        )
    scaled = float(f'{rate * total / original:.6g}')
    schedule.entries['optim_wrapper'] = dict(optimizer=dict(lr=scaled))
    schedule.comments['optim_wrapper'] = (
        f'{devices} × {batch_size} images per iteration = {total}; the rate {rate:g} of the base '
        f'is for {original}:\n{rate:g} × {total} / {original} = {scaled:g}'
    )
    schedule.entries['auto_scale_lr'] = dict(base_batch_size=total)
    schedule.comments['auto_scale_lr'] = 'so that --auto-scale-lr does not scale twice'


def _plan_length(base: Config, an_epoch: int, length: Length, schedule: Schedule) -> None:
    """Plan loop, scheduler and intervals; ``an_epoch`` is the iterations of an epoch."""
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
            f"{_WARM_UP}th of them. mmengine's schedulers reach their end one step early, so "
            '`end` is 1 larger.'
        )
    if not by_epoch and iterations > 300 * an_epoch and new == old:
        schedule.notices.append(
            f'{iterations:,} iterations are {iterations // an_epoch:,} epochs of these images; '
            'give --iters or --epochs for a shorter run'
        )


def _rescaled(
    schedulers: list[dict], old: int, new: int, iterations: int, by_epoch: bool
) -> list[dict]:
    """Return the schedulers for a run of the new length."""
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
                step[key] = iterations + 1  # for any length of the base's epochs
            else:
                step[key] = _moved(step[key], old, new)
    return changed


def _in_iterations(scheduler: dict) -> bool:
    return not scheduler.get('by_epoch', True)


def _moved(place: int | list[int], old: int, new: int) -> Any:
    """Return where an iteration of the old schedule is in the new one."""
    if isinstance(place, list | tuple):
        return sorted({max(1, min(_moved(item, old, new), new - 1)) for item in place})
    # A scheduler that ended with the run, or one step later, still does.
    return new + (place - old) if place >= old else round(place * new / old)
