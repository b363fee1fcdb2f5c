"""Time steps in interleaved rounds, and measure a device's matrix-product rate."""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Timed = Callable[[int], object]  # one step with the given seed
Report = Callable[[str], None]  # called with the name of each piece of work
# A shorter step is repeated within a measurement, so that clock and launch overhead is small.
SHORTEST_SECONDS = 0.05


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Spread':
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, method='inclusive')
        return cls(median, lower, upper)


def time_rounds(
    runs: Mapping[str, Timed],
    *,
    rounds: int,
    device: str = 'cpu',
    warm_up: int = 1,  # rounds that are not counted
    repeats: int = 1,
    report: Report = lambda _: None,
) -> dict[str, list[float]]:
    """Return the seconds of each step by name, for each round.

    The steps may compute different things. In each round every step is measured once, in a new
    random order; a measurement is the mean of ``repeats`` runs. ``report`` gets the name before
    each step.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for number in range(-warm_up, rounds):
        for name in order.sample(list(runs), len(runs)):
            report(name)
            # All variants of a round use the same random numbers, each round uses different ones.
            times = repeats if number >= 0 else 1
            taken = seconds_of(runs[name], warm_up + number, device, times)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def repeats_of(step: Timed, device: str) -> int:
    """Return how often to run a step in one measurement, so that it is long enough to time."""
    return max(1, math.ceil(SHORTEST_SECONDS / max(seconds_of(step, 0, device), 1e-6)))


def seconds_of(step: Timed, seed: int = 0, device: str = 'cpu', repeats: int = 1) -> float:
    """Return the seconds of one step: by the clock, or on CUDA by the device's events."""
    if device == 'cpu':
        started = time.perf_counter()
        for _ in range(repeats):
            step(seed)
        return (time.perf_counter() - started) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):  # events are recorded on the current device's stream
        torch.accelerator.synchronize(device)
        begin.record()
        for _ in range(repeats):
            step(seed)
        end.record()
        end.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def gemm_gflops(
    device: str, side: int | None = None, repeats: int = 3, dtype: torch.dtype = torch.float32
) -> float:
    """Return the best GFLOP/s of several large matrix products: the device's upper limit."""
    side = side or (2048 if device == 'cpu' else 8192)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = min(seconds_of(lambda _: a @ b, device=device) for _ in range(repeats + 1))
    return 2 * side**3 / best / 1e9
