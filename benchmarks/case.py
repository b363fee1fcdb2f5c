"""Several implementations of the same thing, compared and then timed; it knows none of them.

The first variant is the reference. All get the same inputs, weights and random draws, and their
results are compared before anything is timed. Rounds are interleaved: each round runs every
variant once, in an order drawn anew and with a seed of its own. Ratios are paired within rounds,
so that a machine's drift cancels, and the reference is measured twice: the ratio of the two is
what this machine makes of no difference at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.results import Tolerances, differences
from mmconvnext.analysis.benchmark.memory import MemoryMeter, allocated_peak
from mmconvnext.analysis.benchmark.step import Step
from mmconvnext.analysis.benchmark.timing import (
    Report,
    Spread,
    gemm_gflops,
    repeats_of,
    seconds_of,
    time_rounds,
)
from mmconvnext.errors import UserError


class Variant(NamedTuple):
    """One implementation.

    ``prepare`` builds the model and its inputs; it must be picklable, since the memory is taken
    in a process of its own. ``rival`` is whose it is, '' for our own; ``tuned`` sets a rival at
    its best apart from the rival as shipped.
    """

    name: str
    prepare: Callable[[], Step]
    rival: str = ''
    tuned: bool = False


@dataclass(frozen=True)
class Measurement:
    """What was measured of a variant; ratios are its time over the reference's."""

    name: str
    rival: str
    tuned: bool
    seconds: Spread
    ratio: Spread
    gemm_fraction: float | None  # of the time at the GEMM ceiling; None without a count of MACs
    peak_bytes: int | None  # beyond the model and its inputs; None where not taken
    difference: float  # of its results from the reference's, the larger of `differences`
    first_seconds: float = 0.0  # of its first step, compiling included


@dataclass(frozen=True)
class Case:
    """All variants of one task, the reference first and its control second."""

    title: str
    rounds: int
    macs: int | None
    gemm_gflops: float
    measurements: list[Measurement]

    def best_of_rivals(self) -> dict[str, Measurement]:
        """For each rival the faster of its variants."""
        best: dict[str, Measurement] = {}
        for one in self.measurements:
            if one.rival and one.ratio.median <= best.get(one.rival, one).ratio.median:
                best[one.rival] = one
        return best


def measure_case(
    title: str,
    variants: Sequence[Variant],
    *,
    rounds: int,
    device: str,
    macs: int | None = None,
    warm_up: int = 1,
    memory: MemoryMeter | None = None,
    tolerances: Tolerances = Tolerances(),  # noqa: B008  (a tuple)
    amp: torch.dtype | None = None,
    report: Report = lambda _: None,
    drop: Callable[[str, str], None] | None = None,
) -> Case:
    """Check, warm up and time the variants, and take their peak memory.

    Args:
        title: Of the case.
        variants: The reference first.
        rounds: In each, every variant and the control run once.
        device: ``'cpu'`` or a CUDA device.
        macs: Multiply-accumulates of one step, a training step's as the customary three forward
            passes; None where a count has no meaning.
        warm_up: Rounds that are not counted, after the one that compares results.
        memory: Takes the peak memory on a CPU; None leaves it out. On CUDA it is always taken.
        tolerances: Of the comparison.
        amp: Dtype of mixed precision, which the GEMM ceiling is taken in; None: float32.
        report: Called once for each unit of :func:`work`.
        drop: Told a rival that fails or whose results differ, and why; it is then left out. None
            lets it end the whole.

    Raises:
        UserError: a variant's results are not the reference's.
    """
    peaks = {}
    if memory:
        for variant in variants:
            report(f'memory of {variant.name}')
            peaks[variant.name] = memory.peak(variant.prepare)
    ready: dict[str, _FirstStep] = {}
    for variant in variants:
        report(f'results of {variant.name}')
        reference = next(iter(ready.items()), None)
        try:
            ready[variant.name] = _first_step(variant, reference, tolerances, device)
        except Exception as error:  # whatever another implementation raises
            if drop is None or not ready:
                raise
            drop(variant.name, f'{type(error).__name__}: {error}')
    first, again = variants[0].name, f'{variants[0].name}, again'
    runs = {name: one.step for name, one in ready.items()}
    repeats = repeats_of(runs[first], device)
    runs[again] = runs[first]
    seconds = time_rounds(
        runs, rounds=rounds, warm_up=warm_up, device=device, repeats=repeats, report=report
    )
    gflops = gemm_gflops(device, dtype=amp or torch.float32)
    control = variants[0]._replace(name=again)
    measurements = []
    for row in [variants[0], control, *(one for one in variants[1:] if one.name in ready)]:
        spread, found = Spread.of(seconds[row.name]), ready.get(row.name)
        ratios = [a / b for a, b in zip(seconds[row.name], seconds[first])]
        measurements.append(
            Measurement(
                *(row.name, row.rival, row.tuned, spread, Spread.of(ratios)),
                gemm_fraction=macs and 2 * macs / (gflops * 1e9) / spread.median,
                peak_bytes=peaks.get(row.name, found and found.peak_bytes),
                difference=found.difference if found else 0.0,
                first_seconds=found.seconds if found else 0.0,
            )
        )
    return Case(title, rounds, macs, gflops, measurements)


def work(variants: int, *, rounds: int, warm_up: int = 1, memory: object = None) -> int:
    """Reports that :func:`measure_case` makes."""
    return variants * (2 if memory else 1) + (variants + 1) * (rounds + warm_up)


class _FirstStep(NamedTuple):
    """A variant's first step; the results are kept of the reference alone."""

    step: Step
    seconds: float
    results: Mapping[str, Tensor]
    difference: float
    peak_bytes: int | None


def _first_step(
    variant: Variant,
    reference: tuple[str, _FirstStep] | None,
    tolerances: Tolerances,
    device: str,
) -> _FirstStep:
    """Run a variant, whose results have to be the reference's, by name."""
    step = variant.prepare()
    results: dict[str, Tensor] = {}
    seconds = seconds_of(lambda seed: results.update(step(seed)), device=device)
    difference = 0.0
    if reference:
        difference = _compare(variant.name, results, *reference, tolerances)
        results.clear()
    peak = None if device == 'cpu' else allocated_peak(step, device)
    return _FirstStep(step, seconds, results, difference, peak)


def _compare(
    name: str,
    results: Mapping[str, Tensor],
    reference: str,
    expected: _FirstStep,
    tolerances: Tolerances,
) -> float:
    """The larger of the two differences."""
    try:
        pair = differences(expected.results, results)
    except UserError as error:
        raise UserError(f'{name}: {error}') from error
    for what, difference, bound in zip(Tolerances._fields, pair, tolerances):
        if not difference <= bound:
            raise UserError(
                f'{name}: expected the {what} of {reference} within {bound:g}, they differ by '
                f'{difference:.2g}; leave it out, nothing would be compared'
            )
    return max(pair)
