"""Measure the peak memory of steps: in a separate process on a CPU, by PyTorch on CUDA."""

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from mmconvnext.analysis.benchmark.timing import Timed


class MemoryMeter:
    """Measures the peak memory of steps on a CPU, each in a separate process.

    Each process is forked from one that has only imported ``preload``, not from this process,
    whose memory and threads it would inherit.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._processes = multiprocessing.get_context('forkserver')
        self._processes.set_forkserver_preload([*preload, __name__])

    def peak(self, prepare: Callable[[], Timed], steps: int = 2) -> int | None:
        """Return the peak of resident memory during the steps, in bytes, minus that before them.

        Code that is loaded during the steps adds some megabytes. None if the process was killed.
        """
        with ProcessPoolExecutor(1, self._processes) as process:
            try:
                return process.submit(_peak_of_steps, prepare, steps).result()
            except BrokenProcessPool:
                return None


def _peak_of_steps(prepare: Callable[[], Timed], steps: int) -> int:
    step = prepare()
    gc.collect()
    try:
        # First return memory freed by building the model to the system: the steps would reuse it
        # unnoticed. Then reset the high-water mark (proc(5), clear_refs).
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
        before = resident('VmRSS')
    except (OSError, AttributeError):  # not Linux with glibc
        before = resident('VmHWM')
    for seed in range(steps):
        step(seed)
    return resident('VmHWM') - before


def resident(entry: str) -> int:
    """Return bytes of resident memory by proc(5)'s name; outside Linux always the peak."""
    status = Path('/proc/self/status')
    if status.is_file():
        (line,) = (one for one in status.read_text().splitlines() if one.startswith(f'{entry}:'))
        return int(line.split()[1]) * 1024
    import resource  # missing on Windows; on Linux a new process inherits its peak

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak


def allocated_peak(step: Timed, device: str) -> int:
    """Return PyTorch's peak memory in a step on CUDA, in bytes, minus that before it."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step(0)
    return torch.cuda.max_memory_allocated(device) - before
