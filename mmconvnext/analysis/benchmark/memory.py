"""Peak memory of steps: of a process of its own on a CPU, of PyTorch's allocator on CUDA."""

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
    """Takes the peak memory of steps on a CPU, each in a process of its own.

    Each is forked from one that has imported ``preload`` and computes nothing: not from this
    process, whose memory and threads it would inherit.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._processes = multiprocessing.get_context('forkserver')
        self._processes.set_forkserver_preload([*preload, __name__])

    def peak(self, prepare: Callable[[], Timed], steps: int = 2) -> int | None:
        """Bytes of resident memory at the peak of some steps beyond those held before them.

        Code that is first used then adds some megabytes. None where the process was ended.
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
        # What building the model freed goes back to the system first, or the steps would reuse it
        # unseen; the high-water mark starts anew (proc(5), clear_refs).
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
        before = _resident('VmRSS')
    except (OSError, AttributeError):  # not Linux with glibc
        before = _resident('VmHWM')
    for seed in range(steps):
        step(seed)
    return _resident('VmHWM') - before


def _resident(entry: str) -> int:
    """Bytes of resident memory by proc(5)'s name: now, or (elsewhere always) at the peak."""
    status = Path('/proc/self/status')
    if status.is_file():
        (line,) = (one for one in status.read_text().splitlines() if one.startswith(f'{entry}:'))
        return int(line.split()[1]) * 1024
    import resource  # no Windows has it; on Linux a new program inherits its mark

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak


def allocated_peak(step: Timed, device: str) -> int:
    """Bytes that PyTorch held at the peak of a step on CUDA, beyond those held before it."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step(0)
    return torch.cuda.max_memory_allocated(device) - before
