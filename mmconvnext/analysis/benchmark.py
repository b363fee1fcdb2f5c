"""Fair timings of several implementations of the same thing; it knows none of them.

The first variant is the reference. All get the same inputs, weights and random draws, and their
results are compared before anything is timed. Rounds are interleaved: each round runs every
variant once, in an order drawn anew and with a seed of its own. Ratios are paired within rounds,
so that a machine's drift cancels, and the reference is measured twice: the ratio of the two is
what this machine makes of no difference at all.
"""

import ctypes
import gc
import importlib
import math
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from mmconvnext.errors import UserError

# One step with the given seed. What it returns is compared between variants.
Step = Callable[[int], Mapping[str, Tensor]]
# Told each piece of work that is done.
Report = Callable[[str], None]

# Told a variant that is left out, and why.
Drop = Callable[[str, str], None]

# A shorter step is repeated within its measurement: clocks and launches are not what is measured.
SHORTEST_SECONDS = 0.05
# Of float16, whose small gradients would be zeros; as a GradScaler has it.
LOSS_SCALE = 1024.0


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
        slowest_first = sorted(self.measurements, key=lambda one: -one.ratio.median)
        best = {one.rival: one for one in slowest_first if one.rival}
        order = dict.fromkeys(one.rival for one in self.measurements if one.rival)
        return {rival: best[rival] for rival in order}


def control_name(reference: str) -> str:
    """What the reference is called where it is measured a second time."""
    return f'{reference}, again'


class ModelStep:
    """One step of a model on fixed inputs: forward, and in training backward.

    The gradient that enters the outputs is random and fixed: the derivative of a random weighted
    sum of them. A scalar (a loss) has the weight 1.

    Args:
        model: In the mode it shall run in.
        forward: Runs the model; gives named outputs. What needs no gradient gets none.
        names: Common name of each parameter that is compared, by its name in the model; None
            where they are the common ones.
        leaves: Inputs, by name, whose gradients are asked for as well.
        amp: Dtype of mixed precision: ``forward`` then runs under autocast; None without.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[], Mapping[str, Tensor]],
        names: Mapping[str, str] | None = None,
        leaves: Mapping[str, Tensor] | None = None,
        amp: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.amp = amp
        self.forward = forward
        parameters = dict(model.named_parameters())
        names = {name: name for name in parameters} if names is None else names
        self.leaves = {common: parameters[own] for own, common in names.items()}
        self.leaves |= leaves or {}
        self.weights: list[Tensor] = []

    def __call__(self, seed: int) -> Mapping[str, Tensor]:
        torch.manual_seed(seed)  # of dropout and stochastic depth
        if not self.model.training:
            with torch.inference_mode(), self._autocast():
                return self.forward()
        with self._autocast():
            outputs = self.forward()
        roots = [value for value in outputs.values() if value.requires_grad]
        self.weights = self.weights or [_fixed_weights(root, self.amp) for root in roots]
        torch.autograd.backward(roots, self.weights)
        results = {name: value.detach() for name, value in outputs.items()}
        for name, leaf in self.leaves.items():
            if leaf.grad is not None:
                results[f'gradient of {name}'] = leaf.grad
            leaf.grad = None
        self.model.zero_grad(set_to_none=True)
        return results

    def _autocast(self) -> torch.autocast:
        device = next(self.model.parameters()).device.type
        # Weights are cast anew in each step, as in training, where they change.
        return torch.autocast(device, self.amp, enabled=self.amp is not None)


def _fixed_weights(output: Tensor, amp: torch.dtype | None) -> Tensor:
    if output.ndim == 0:
        return torch.full_like(output, LOSS_SCALE if amp == torch.float16 else 1.0)
    values = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
    # In the layout of the output, as the layer after it would send its gradient.
    return torch.empty_like(output).copy_(values)


def randomise_vectors(model: nn.Module) -> None:
    """Move norms, scales and biases off their ones and zeros, so that each of them matters."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.squeeze().ndim <= 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


class Tolerances(NamedTuple):
    """Bounds of :func:`differences`."""

    outputs: float = 1e-4
    gradients: float = 1e-4


BOUNDS = Tolerances()


def differences(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> tuple[float, float]:
    """Largest differences of the outputs and of the gradients; shapes may differ by ones.

    Of an output ``max|a − b| / max|a|``; of integers, such as labels, the share that differs. Of a
    gradient ``‖a − b‖ / ‖a‖``, in which a ReLU that rounding switches on or off does not decide
    alone; its norm counts as at least a thousandth of the largest, since some gradients are zero
    but for rounding.

    Raises:
        UserError: a result is missing or of another size.
    """
    outputs, gradients = [0.0], [0.0]
    norms = [value.norm().item() for name, value in expected.items() if _is_gradient(name)]
    floor = 1e-3 * max(norms, default=0.0)
    for name, a in expected.items():
        if name not in got or got[name].numel() != a.numel():
            found = f'shape {tuple(got[name].shape)}' if name in got else 'none'
            raise UserError(f'{name}: expected shape {tuple(a.shape)}, got {found}')
        b = got[name].reshape(a.shape)
        if a.is_floating_point():  # squares of float16 overflow
            a, b = a.float(), b.float()
        if _is_gradient(name):
            gradients.append((a - b).norm().item() / (max(a.norm().item(), floor) or 1))
        elif a.is_floating_point():
            outputs.append(_peak(a - b) / (_peak(a) or 1))
        elif a.numel():
            outputs.append((a != b).float().mean().item())
    return _maximum(outputs), _maximum(gradients)


def _is_gradient(name: str) -> bool:
    return name.startswith('gradient of ')


def _peak(values: Tensor) -> float:
    return values.abs().max().item() if values.numel() else 0.0


def _maximum(values: Sequence[float]) -> float:
    """The largest, or nan where there is one: Python's own maximum may pass it over."""
    return torch.tensor(values, dtype=torch.float64).max().item()


class MemoryMeter:
    """Takes the peak memory of variants, each in a process of its own.

    Starting Python and importing takes seconds: one process does so, which computes nothing and is
    forked for each variant. For a CPU alone; CUDA's allocator counts by itself.

    Args:
        preload: Modules to import before forking.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self.forks = 'fork' in multiprocessing.get_all_start_methods()
        self._preload = preload
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.shutdown()

    def _start(self) -> None:
        # Not forked from this process, whose memory and threads it would inherit.
        self._processes = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context('spawn'),
            initializer=_import_all,
            initargs=(self._preload,),
            max_tasks_per_child=None if self.forks else 1,
        )

    def peak(self, variant: Variant, steps: int = 2) -> int | None:
        """Bytes of resident memory at the peak of some steps beyond those held before them.

        Code that is first used then adds some megabytes. None where the process was ended, most
        likely for memory.
        """
        measure = _peak_of_forked if self.forks else _peak_of_steps
        try:
            return self._processes.submit(measure, variant.prepare, steps).result()
        except BrokenProcessPool:
            self._start()
            return None


def _import_all(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _peak_of_forked(prepare: Callable[[], Step], steps: int) -> int | None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork')) as child:
        try:
            return child.submit(_peak_of_steps, prepare, steps).result()
        except BrokenProcessPool:
            return None


def _peak_of_steps(prepare: Callable[[], Step], steps: int) -> int:
    step = prepare()
    gc.collect()
    before = _start_high_water()
    for seed in range(steps):
        step(seed)
    return _high_water() - before


def _start_high_water() -> int:
    """Bytes held now, from where on the high-water mark counts."""
    try:
        # What building the model freed goes back to the system first, or the steps would reuse it
        # unseen; the mark starts anew (proc(5), clear_refs).
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
        return _process_status('VmRSS')
    except (OSError, AttributeError):  # not Linux with glibc
        return _high_water()


def _high_water() -> int:
    try:
        # Not getrusage where there is this: on Linux a new program inherits its mark.
        return _process_status('VmHWM')
    except OSError:
        import resource  # no Windows has it

        unit = 1 if os.uname().sysname == 'Darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _process_status(entry: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f'{entry}:'))
    return int(line.split()[1]) * 1024


def allocated_peak(step: Step, device: str) -> int:
    """Bytes that PyTorch held at the peak of a step on CUDA, beyond those held before it."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step(0)
    return torch.cuda.max_memory_allocated(device) - before


def measure_case(
    title: str,
    variants: Sequence[Variant],
    *,
    rounds: int,
    device: str,
    macs: int | None = None,
    warm_up: int = 1,
    memory: MemoryMeter | None = None,
    tolerances: Tolerances = BOUNDS,
    amp: torch.dtype | None = None,
    report: Report = lambda _: None,
    drop: Drop | None = None,
) -> Case:
    """Check, warm up and time the variants, and take their peak memory.

    Args:
        title: Of the case.
        variants: The reference first.
        rounds: In each, every variant and the control run once.
        device: ``'cpu'`` or a CUDA device, on which the variants run.
        macs: Multiply-accumulates of one step, a training step's as the customary three forward
            passes; None where a count has no meaning.
        warm_up: Rounds that are not counted, after the one that compares results.
        memory: Takes the peak memory on a CPU; None leaves it out. On CUDA it is always taken.
        tolerances: Of the comparison.
        amp: Dtype of mixed precision, which the GEMM ceiling is taken in; None: float32.
        report: Called once for each unit of :func:`work`.
        drop: Called for a rival that fails or whose results differ, which is then left out; None
            lets it end the whole.

    Raises:
        UserError: a variant's results are not the reference's.
    """
    peaks = {}
    for variant in variants if memory else ():
        report(f'memory of {variant.name}')
        peaks[variant.name] = memory.peak(variant)
    equal = _Equal(tolerances, device)
    for variant in variants:
        report(f'results of {variant.name}')
        equal.add(variant, drop)
    steps = equal.steps
    variants = [variant for variant in variants if variant.name in steps]
    peaks |= equal.peaks
    seconds = _time(steps, rounds, warm_up, device, report)
    gflops = gemm_gflops(device, dtype=amp or torch.float32)
    reference = variants[0]
    rows = [reference, reference._replace(name=control_name(reference.name)), *variants[1:]]
    measurements = []
    for row in rows:
        times = seconds[row.name]
        spread = Spread.of(times)
        ratio = Spread.of([mine / first for mine, first in zip(times, seconds[reference.name])])
        ideal = None if macs is None else 2 * macs / (gflops * 1e9)
        measurements.append(
            Measurement(
                *(row.name, row.rival, row.tuned, spread, ratio),
                gemm_fraction=ideal and ideal / spread.median,
                peak_bytes=peaks.get(row.name),
                difference=equal.found.get(row.name, 0.0),
                first_seconds=equal.first_seconds.get(row.name, 0.0),
            )
        )
    return Case(title, rounds, macs, gflops, measurements)


def work(variants: int, *, rounds: int, warm_up: int = 1, memory: object = None) -> int:
    """Reports that :func:`measure_case` makes."""
    return variants * (2 if memory else 1) + (variants + 1) * (rounds + warm_up)


class _Equal:
    """Steps by name, how far their results are from the first one's, and how long each took.

    On CUDA also the peak memory of a second step.
    """

    def __init__(self, tolerances: Tolerances, device: str) -> None:
        self.steps: dict[str, Step] = {}
        self.found: dict[str, float] = {}
        self.first_seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self._device = device
        self._tolerances = tolerances
        self._expected: Mapping[str, Tensor] | None = None

    def add(self, variant: Variant, drop: Drop | None) -> None:
        """Prepare a variant and compare its results; what is wrong ends it, or is told to drop."""
        if drop is None or self._expected is None:
            return self._add(variant)
        try:
            self._add(variant)
        except Exception as error:  # whatever another implementation raises
            drop(variant.name, f'{type(error).__name__}: {error}')
        return None

    def _add(self, variant: Variant) -> None:
        step = variant.prepare()
        started = time.perf_counter()
        results = {name: value.detach() for name, value in step(0).items()}
        synchronise(self._device)
        self.first_seconds[variant.name] = time.perf_counter() - started
        if self._expected is None:
            self._expected = results
        try:
            pair = differences(self._expected, results)
        except UserError as error:
            raise UserError(f'{variant.name}: {error}') from error
        for what, difference, bound in zip(Tolerances._fields, pair, self._tolerances):
            if not difference <= bound:
                raise UserError(
                    f'{variant.name}: expected the {what} of {next(iter(self.steps))} within '
                    f'{bound:g}, they differ by {difference:.2g}; leave it out, nothing would be '
                    'compared'
                )
        del results
        if self._device != 'cpu':
            self.peaks[variant.name] = allocated_peak(step, self._device)
        self.steps[variant.name] = step
        self.found[variant.name] = max(pair)


def _time(
    steps: Mapping[str, Step], rounds: int, warm_up: int, device: str, report: Report
) -> dict[str, list[float]]:
    """Seconds of each step in each round; the first step also runs as its own control."""
    reference, first = next(iter(steps.items()))
    repeats = repeats_of(first, device)
    runs = {**steps, control_name(reference): first}
    return time_rounds(
        runs, rounds=rounds, warm_up=warm_up, device=device, repeats=repeats, report=report
    )


def repeats_of(step: Step, device: str) -> int:
    """How often a step is run in one measurement, so that it takes long enough to be timed."""
    return max(1, math.ceil(SHORTEST_SECONDS / max(_seconds(step, 0, device), 1e-6)))


def time_rounds(
    runs: Mapping[str, Step],
    *,
    rounds: int,
    device: str,
    warm_up: int = 1,
    repeats: int = 1,
    report: Report = lambda _: None,
) -> dict[str, list[float]]:
    """Seconds of each step in each round; the steps need not compute the same.

    Args:
        runs: Steps by name. In each round every one runs once, in an order drawn anew.
        rounds: That are counted.
        device: On which the steps run.
        warm_up: Rounds before them.
        repeats: Runs in one measurement, which is their mean.
        report: Called with its name before each step.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for number in range(-warm_up, rounds):
        for name in order.sample(list(runs), len(runs)):
            report(name)
            # The same masks for all variants of a round, and other ones in the next.
            taken = _seconds(runs[name], warm_up + number, device, repeats if number >= 0 else 1)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def _seconds(step: Step, seed: int, device: str, repeats: int = 1) -> float:
    """Return what one step takes: by the clock, on CUDA by the device's own events."""
    if device == 'cpu':
        started = time.perf_counter()
        for _ in range(repeats):
            step(seed)
        return (time.perf_counter() - started) / repeats
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):  # on whose stream the events are recorded
        synchronise(device)
        started.record()
        for _ in range(repeats):
            step(seed)
        ended.record()
        ended.synchronize()
    return started.elapsed_time(ended) / 1e3 / repeats


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != 'cpu':
        torch.accelerator.synchronize(device)


def gemm_gflops(
    device: str, side: int | None = None, repeats: int = 3, dtype: torch.dtype = torch.float32
) -> float:
    """The GEMM ceiling: GFLOP/s of a large matrix product, the best of some."""
    side = side or (2048 if device == 'cpu' else 8192)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = min(_seconds(lambda _: {'': a @ b}, 0, device) for _ in range(repeats + 1))
    return 2 * side**3 / best / 1e9
