"""Compare the results of several implementations of one task, and then time them.

The first variant is the reference. All get the same inputs, weights and random numbers, and their
results are compared before the timing. Rounds are interleaved: each round runs every variant once,
in a new random order and with a new seed. Ratios are computed within rounds, so that a machine's
drift cancels. The reference is measured twice: the ratio of the two shows the measurement error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmconvnext.analysis.benchmark import timing
from mmconvnext.analysis.benchmark.memory import MemoryMeter, allocated_peak
from mmconvnext.analysis.benchmark.step import Step
from mmconvnext.errors import UserError


class Tolerances(NamedTuple):
    """Bounds of :func:`differences`."""

    outputs: float = 1e-4
    gradients: float = 1e-4


class Variant(NamedTuple):
    """One implementation."""

    name: str
    prepare: Callable[[], Step]  # builds model and inputs; picklable, for the memory's process
    rival: str = ''  # name of the other implementation, '' for ours
    tuned: bool = False  # with tuned settings instead of the rival as shipped


@dataclass(frozen=True)
class Measurement:
    """Measurements of a variant; ratios are its time over the reference's."""

    name: str
    rival: str
    tuned: bool
    seconds: timing.Spread
    ratio: timing.Spread
    gemm_fraction: float | None  # of the GEMM ceiling; None without a count of MACs
    peak_bytes: int | None  # without the model and its inputs; None if not measured
    difference: float  # from the reference's results, the larger of `differences`
    first_seconds: float = 0.0  # seconds of its first step, including compilation


@dataclass(frozen=True)
class Case:
    """All variants of one task, the reference first and its control second."""

    title: str
    rounds: int
    macs: int | None
    gemm_gflops: float
    measurements: list[Measurement]

    def best_of_rivals(self) -> dict[str, Measurement]:
        """Return the faster variant of each rival."""
        best: dict[str, Measurement] = {}
        for one in self.measurements:
            if one.rival and one.ratio.median <= best.get(one.rival, one).ratio.median:
                best[one.rival] = one
        return best


def measure_case(
    title: str,
    variants: Sequence[Variant],  # the reference first
    *,
    rounds: int,  # in each, every variant and the control run once
    device: str,
    macs: int | None = None,  # of one step; None where a count has no meaning
    warm_up: int = 1,  # rounds that are not counted, after the step that is compared
    memory: MemoryMeter | None = None,  # takes the peak on a CPU; on CUDA it is always taken
    tolerances: Tolerances = Tolerances(),  # noqa: B008  (a tuple)
    amp: torch.dtype | None = None,  # mixed precision's, which the GEMM ceiling is taken in
    report: timing.Report = lambda _: None,  # called once for each unit of `work`
    drop: Callable[[str, str], None] | None = None,
) -> Case:
    """Check, warm up and time the variants, and take their peak memory.

    If a rival fails or its results differ, ``drop`` is called with its name and the reason, and the
    rival is skipped. Without ``drop`` this raises UserError.
    """
    peaks = {}
    if memory:
        for variant in variants:
            report(f'memory of {variant.name}')
            peaks[variant.name] = memory.peak(variant.prepare)
    first, again = variants[0].name, f'{variants[0].name}, again'
    steps: dict[str, Step] = {}
    facts: dict[str, dict[str, Any]] = {again: dict(difference=0.0, peak_bytes=None)}
    expected: dict[str, Tensor] = {}
    for variant in variants:
        report(f'results of {variant.name}')
        try:
            found = _first_step(variant, first, expected, tolerances, device)
            steps[variant.name], facts[variant.name] = found
            if memory:
                facts[variant.name]['peak_bytes'] = peaks[variant.name]
        except Exception as error:  # other implementations may raise anything
            if drop is None or not steps:
                raise
            drop(variant.name, f'{type(error).__name__}: {error}')
    steps[again] = steps[first]
    repeats = timing.repeats_of(steps[first], device)
    options = dict(rounds=rounds, warm_up=warm_up, repeats=repeats)
    seconds = timing.time_rounds(steps, device=device, report=report, **options)
    gflops = timing.gemm_gflops(device, dtype=amp or torch.float32)
    measurements = []
    for one in [variants[0], variants[0]._replace(name=again), *variants[1:]]:
        if one.name in steps:
            spread = timing.Spread.of(seconds[one.name])
            ratio = timing.Spread.of([a / b for a, b in zip(seconds[one.name], seconds[first])])
            fraction = macs and 2 * macs / (gflops * 1e9) / spread.median
            named = (one.name, one.rival, one.tuned, spread, ratio, fraction)
            measurements.append(Measurement(*named, **facts[one.name]))
    return Case(title, rounds, macs, gflops, measurements)


def work(variants: int, *, rounds: int, warm_up: int = 1, memory: object = None) -> int:
    """Return the number of reports that :func:`measure_case` makes."""
    return variants * (2 if memory else 1) + (variants + 1) * (rounds + warm_up)


def _first_step(
    variant: Variant, first: str, expected: dict[str, Tensor], bounds: Tolerances, device: str
) -> tuple[Step, dict[str, Any]]:
    """A variant's step and what running it once tells; its results become, or have to be, those."""
    step = variant.prepare()
    results: dict[str, Tensor] = {}
    seconds = timing.seconds_of(lambda seed: results.update(step(seed)), device=device)
    difference = 0.0
    if variant.name == first:
        expected.update(results)
    else:
        try:
            difference = _require_alike(first, expected, results, bounds)
        except UserError as error:
            raise UserError(f'{variant.name}: {error}') from error
    results.clear()
    peak = None if device == 'cpu' else allocated_peak(step, device)
    return step, dict(first_seconds=seconds, difference=difference, peak_bytes=peak)


def _require_alike(
    reference: str, expected: Mapping[str, Tensor], got: Mapping[str, Tensor], bounds: Tolerances
) -> float:
    """Return the larger of the two differences; raise UserError if one exceeds its bound."""
    pair = differences(expected, got)
    for what, difference, bound in zip(Tolerances._fields, pair, bounds):
        if not difference <= bound:
            raise UserError(
                f'expected the {what} of {reference} within {bound:g}, they differ by '
                f'{difference:.2g}; leave it out, nothing would be compared'
            )
    return max(pair)


def differences(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> tuple[float, float]:
    """Return the largest differences of outputs and of gradients; shapes may differ by ones.

    For an output it is ``max|a - b| / max|a|``; for integers, such as labels, the fraction that
    differs. For a gradient it is ``‖a - b‖ / ‖a‖``, which a single ReLU switched by rounding does
    not dominate; the norm counts as at least a thousandth of the largest norm, because some
    gradients are zero up to rounding. Raises UserError if a result is missing or has another size.
    """
    gradients = {name: x for name, x in expected.items() if name.startswith('gradient of ')}
    floor = 1e-3 * max((x.norm().item() for x in gradients.values()), default=0.0)
    found = {False: [0.0], True: [0.0]}
    for name, a in expected.items():
        b = got.get(name)
        if b is None or b.numel() != a.numel():
            shape = 'none' if b is None else f'shape {tuple(b.shape)}'
            raise UserError(f'{name}: expected shape {tuple(a.shape)}, got {shape}')
        one = _difference(a, b.reshape(a.shape), floor if name in gradients else None)
        found[name in gradients].append(one)
    # Python's own maximum may ignore nan.
    largest = (torch.tensor(x, dtype=torch.float64).max().item() for x in found.values())
    return next(largest), next(largest)


def _difference(a: Tensor, b: Tensor, floor: float | None) -> float:
    """Return the difference of a gradient (``floor`` is its minimal norm) or an output (None)."""
    if not a.numel():
        return 0.0
    if not a.is_floating_point():
        return (a != b).float().mean().item()
    a, b = a.float(), b.float()  # squares of float16 overflow
    if floor is None:
        return (a - b).abs().max().item() / (a.abs().max().item() or 1)
    return (a - b).norm().item() / (max(a.norm().item(), floor) or 1)
