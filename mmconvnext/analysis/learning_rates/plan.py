"""A config's learning rates: parameter groups and schedule."""

from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from mmconvnext.analysis.learning_rates.rates import Rates, count_rates, explain
from mmconvnext.analysis.learning_rates.run_length import RunLength, run_length
from mmconvnext.analysis.learning_rates.schedule import Schedule, run_schedule

# Number of iterations in JSON and plots, in addition to those at which the schedule changes.
POINTS = 1000


class LearningRatePlan(NamedTuple):
    """Groups of parameters, and the rates of heads and stem over the run."""

    rates: Rates
    length: RunLength
    schedule: Schedule  # of the two rates in ``rates.ends()``
    explanation: str

    def notices(self) -> list[str]:
        """Return notes on how the numbers were computed."""
        rates = self.rates
        notices = [*rates.notices, self.length.notice, *self.schedule.notices]
        if rates.factor != 1:
            notices.append(f'learning rates × {rates.factor:g} for the batch size')
        if rates.left_out:
            names = ', '.join(rates.left_out[:3])
            notices.append(f'{len(rates.left_out)} parameters are not trained: {names} …')
        return [notice for notice in notices if notice]

    def points(self) -> np.ndarray:
        """Return iterations that show the schedule: evenly spaced, and both sides of each step."""
        iterations, per_epoch = self.length.iterations, self.length.per_epoch
        spread = np.linspace(0, iterations - 1, POINTS).astype(int)
        epochs = np.arange(0, iterations, per_epoch or iterations)
        turns = np.concatenate([self.schedule.turns, epochs])
        return np.unique(np.concatenate([spread, turns, np.maximum(turns - 1, 0)]))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        at = self.points()
        curves = dict(zip(self.rates.ends(), self.schedule.rates[:, at].tolist()))
        return {
            'explanation': self.explanation,
            'notices': self.notices(),
            'base_lr': self.rates.base_lr,
            'groups': [group._asdict() for group in self.rates.groups],
            'left_out': self.rates.left_out,
            'iterations': self.length.iterations,
            'iterations_per_epoch': self.length.per_epoch,
            'schedule': {'turns': self.schedule.turns, 'iterations': at.tolist(), **curves},
        }


def make_plan(
    config: Config, *, per_epoch: int | None = None, processes: int = 1
) -> LearningRatePlan:
    """Build the optimizer and step the schedulers of a config, without data or training.

    ``per_epoch`` is the number of iterations per epoch, if the run is counted in epochs.
    ``processes`` is the number of training processes, for ``auto_scale_lr.enable``. Raises
    UserError if the config cannot be built or has no training length.
    """
    rates = count_rates(config, processes=processes)
    length = run_length(config, per_epoch=per_epoch, processes=processes)
    schedule = run_schedule(config, length, [*rates.ends().values()])
    return LearningRatePlan(rates, length, schedule, explain(config, rates))
