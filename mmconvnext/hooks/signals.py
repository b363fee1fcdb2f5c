"""Receive signals that ask a run to save or to stop."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import torch
from mmengine.dist import all_gather, is_main_process

from mmconvnext.processes import started_by_torchrun

SAVE = signal.SIGUSR1
STOP = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """A signal ended the run; the exit code is 128 + its number, as in shells."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Signals:
    """Receives SIGTERM, SIGINT and SIGUSR1 inside a ``with`` block.

    A signal is stored in ``pending`` for the next optimizer step. If ``at_once`` is set, as during
    an evaluation, it is called instead. A second signal to stop ends the process and its children.
    Only the main thread can receive signals: in other threads nothing changes.
    """

    def __init__(self) -> None:
        self.pending = 0  # number of the most important signal; 0 for none
        self.at_once: Callable[[], None] | None = None
        self.handling = False  # whether a signal is calling `at_once`
        self.is_lost: Callable[[], object] = lambda: False  # whether the run cannot save any more
        self._process = os.getpid()
        self._before: dict = {}

    def __enter__(self) -> 'Signals':
        if threading.current_thread() is threading.main_thread():
            ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # set by shells for `… &`
            for number in (SAVE, *(n for n in STOP if n != signal.SIGINT or not ignored)):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A forked process, such as a data loader's worker, inherits this handler.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number in STOP and self.pending in STOP:
            # torchrun passes signals on to processes that may have received them already, and kills
            # processes that do not stop.
            if not started_by_torchrun():
                _end(number)
            return
        self.pending = weightier(self.pending, number)
        if self.at_once is not None:
            self.handling = True
            try:
                self.at_once()
            finally:
                self.handling = False
        elif number in STOP and is_main_process() and not self.is_lost():
            _tell_of(number)

    def settle(self, number: int) -> None:
        """Clear a handled signal to save, or end the run for a signal to stop.

        Raises:
            Stopped: ``number`` is a signal to stop.
        """
        if self.pending == SAVE:
            self.pending = 0
        if number in STOP:
            raise Stopped(number)


def weightier(*numbers: int) -> int:
    """Return the most important signal (0: none): SIGTERM, then SIGINT, then SIGUSR1."""
    return max(numbers, key=(0, int(SAVE), *map(int, STOP)).index)


def agreed(pending: int) -> int:
    """Return the most important signal of all processes; all processes must call this."""
    return weightier(*map(int, all_gather(torch.tensor(pending))))


def _tell_of(number: int) -> None:
    again = '' if started_by_torchrun() else '; a second signal ends it at once'
    line = f'{signal.Signals(number).name}: the run saves and ends{again}\n'
    # print is not safe in signal handlers. Ctrl-C may have ended the reader of the pipe.
    with suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), line.encode())


def _end(number: int) -> None:
    print('A second signal: ended without saving', file=sys.stderr, flush=True)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(128 + number)


def leave_signals_to_the_run() -> None:
    """Make a data loader's worker ignore all signals except those from its run.

    Ctrl-C and Slurm signal all processes, but the run needs its workers to reach the next step. The
    run ends them itself, if necessary by SIGTERM; only ``sigwaitinfo`` tells which process sent the
    signal. Workers end by themselves when the run has ended.
    """
    for number in (SAVE, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # missing on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        run = os.getppid()
        threading.Thread(target=_end_with, args=(run,), name='signals', daemon=True).start()


def _end_with(run: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != run:
        pass
    os._exit(0)
