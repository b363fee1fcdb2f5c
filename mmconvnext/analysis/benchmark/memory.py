"""Peak memory of steps: of a process of its own on a CPU, of PyTorch's allocator on CUDA."""

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from mmconvnext.analysis.benchmark.timing import Timed


class MemoryMeter:
    """Runs what is measured on a CPU, each in a process of its own.

    A process that computes nothing imports ``preload`` once and is forked for each call. With
    ``start='spawn'`` each call starts Python anew: a fork does not count what it has not used of
    the code that it shares.
    """

    def __init__(self, preload: Sequence[str] = (), start: str = 'forkserver') -> None:
        # Not forked from this process, whose memory and threads it would inherit.
        self._processes = multiprocessing.get_context(start)
        self._processes.set_forkserver_preload([*preload, __name__])

    def run(self, function: Callable[..., object], *arguments: object) -> Any:
        """What a picklable function returns; None where its process was ended."""
        with ProcessPoolExecutor(1, self._processes) as process:
            try:
                return process.submit(function, *arguments).result()
            except BrokenProcessPool:
                return None

    def peak(self, prepare: Callable[[], Timed], steps: int = 2) -> int | None:
        """Bytes of resident memory at the peak of some steps beyond those held before them.

        Code that is first used then adds some megabytes. None where the process was ended.
        """
        return self.run(_peak_of_steps, prepare, steps)


def _peak_of_steps(prepare: Callable[[], Timed], steps: int) -> int:
    step = prepare()
    gc.collect()
    before = _start_high_water()
    for seed in range(steps):
        step(seed)
    return high_water() - before


def _start_high_water() -> int:
    """Bytes held now, from where on the high-water mark counts."""
    try:
        # What building the model freed goes back to the system first, or the steps would reuse it
        # unseen; the mark starts anew (proc(5), clear_refs).
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
        return process_status('VmRSS')
    except (OSError, AttributeError):  # not Linux with glibc
        return high_water()


def high_water() -> int:
    """Bytes of resident memory of this process at its peak."""
    try:
        # Not getrusage where there is this: on Linux a new program inherits its mark.
        return process_status('VmHWM')
    except OSError:
        import resource  # no Windows has it

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == 'darwin' else 1024 * peak


def process_status(entry: str) -> int:
    """Bytes of an entry of this process's status, proc(5); an OSError where there is none."""
    lines = Path('/proc/self/status').read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f'{entry}:'))
    return int(line.split()[1]) * 1024


def allocated_peak(step: Timed, device: str) -> int:
    """Bytes that PyTorch held at the peak of a step on CUDA, beyond those held before it."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step(0)
    return torch.cuda.max_memory_allocated(device) - before
