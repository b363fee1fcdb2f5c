"""A config's learning rates at every iteration, from its own schedulers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope

from mmconvnext.analysis.cost.complexity import building
from mmconvnext.analysis.learning_rates.run_length import RunLength


class Schedule(NamedTuple):
    """Learning rates at each iteration, and the iterations at which the schedule changes."""

    rates: np.ndarray  # (rates, iterations) float64
    # Iterations: the first, each begin and end of a scheduler, the peak, the last.
    turns: list[int]
    notices: list[str]


def run_schedule(config: Config, length: RunLength, rates: Sequence[float]) -> Schedule:
    """Step the config's schedulers as in training, with one parameter for each learning rate.

    ``rates`` are the learning rates before any warm-up; without a ``param_scheduler`` they stay
    constant. Raises UserError if a scheduler cannot be built.
    """
    groups = [{'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': rate} for rate in rates]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=0.0))
    schedulers, notices = _build(config, length, wrapper)
    wrapper.step()  # without gradients, because mmengine warns if schedulers step first
    per_epoch = length.per_epoch or length.iterations
    used = np.empty((len(rates), length.iterations))
    at = 0
    while at < length.iterations:
        # After the last scheduler that counts iterations, rates are constant within an epoch.
        active = [one for one in schedulers if not one.by_epoch and one._global_step < one.end]
        epoch_end = min((at // per_epoch + 1) * per_epoch, length.iterations)
        until = at + 1 if active else epoch_end
        used[:, at:until] = [[group['lr']] for group in wrapper.optimizer.param_groups]
        for scheduler in active:
            scheduler.step()
        if until == epoch_end and length.per_epoch:
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()
        at = until
    turns = {*_turns(schedulers, length), int(used[0].argmax())}
    return Schedule(used, sorted(turns), notices)


def _build(config: Config, length: RunLength, wrapper: OptimWrapper) -> tuple[list[Any], list[str]]:
    """Return the learning-rate schedulers, built as by the Runner."""
    init_default_scope(config.get('default_scope', 'mmengine'))
    given = config.get('param_scheduler') or []
    built: list[Any] = []
    notices: list[str] = []
    for one in [given] if isinstance(given, Mapping) else given:
        one = dict(one)
        kind = str(one.get('type'))
        if kind.startswith('ReduceOnPlateau'):
            notices.append(f'{kind} depends on results, and is ignored')
            continue
        by_epoch = one.get('by_epoch', True)
        if by_epoch and not length.per_epoch and not one.get('convert_to_iter_based'):
            notices.append(f'{kind} counts epochs, but the run counts iterations: no effect')
            continue
        one.setdefault('end', length.epochs if by_epoch else length.iterations)
        defaults = dict(optimizer=wrapper, epoch_length=length.per_epoch or length.iterations)
        with building(f'param_scheduler of the config: {kind}'):
            scheduler = PARAM_SCHEDULERS.build(one, default_args=defaults)
        if scheduler.param_name == 'lr':
            built.append(scheduler)
    return built, notices


def _turns(schedulers: Sequence[Any], length: RunLength) -> set[int]:
    last = length.iterations - 1
    turns = {0, last}
    for one in schedulers:
        unit = length.per_epoch if one.by_epoch else 1
        # A scheduler does not step at `end`: its last step was before it.
        edges = [one.begin * unit, (one.end - (0 if one.by_epoch else 1)) * unit]
        edges += [milestone * unit for milestone in getattr(one, 'milestones', ())]
        turns |= {int(edge) for edge in edges if 0 <= edge <= last}
    return turns
