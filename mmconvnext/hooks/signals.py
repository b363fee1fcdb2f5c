"""Signals that ask a run to save, or to stop."""

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

SAVE = signal.SIGUSR1
STOP = (signal.SIGINT, signal.SIGTERM)
# torchrun passes its signal on to processes that may have had it already, and has its own way to
# end those that do not stop.
_COPIES_FROM_TORCHRUN = 'TORCHELASTIC_RUN_ID'


class Stopped(SystemExit):
    """A signal ended the run; the exit code is 128 + its number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Signals:
    """Takes SIGTERM, SIGINT and SIGUSR1 while it is entered.

    A signal is written down in ``pending`` for the next optimizer step; where ``at_once`` is set,
    as during an evaluation, that is called in its stead. A second signal to stop ends the process
    and its children. Other threads than the main one cannot take signals: there, nothing changes.
    """

    def __init__(self) -> None:
        self.pending = 0  # number of the signal that weighs most; 0 for none
        self.at_once: Callable[[], None] | None = None
        self.handling = False  # whether `at_once` is being called by a signal
        self._process = os.getpid()
        self._before: dict[int, object] = {}

    def __enter__(self) -> 'Signals':
        if threading.current_thread() is threading.main_thread():
            ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as shells do for `… &`
            for number in (SAVE, *(n for n in STOP if n != signal.SIGINT or not ignored)):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A forked process, such as a worker of a data loader, has inherited this handler.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number in STOP and self.pending in STOP:
            if _COPIES_FROM_TORCHRUN not in os.environ:
                _end(number)
            return
        self.pending = weightier(self.pending, number)
        if self.at_once is not None:
            self.handling = True
            try:
                self.at_once()
            finally:
                self.handling = False
        elif number in STOP and is_main_process():
            _tell_of(number)

    def settle(self, number: int) -> None:
        """Forget a signal to save that has been followed, and end the run by one to stop.

        Raises:
            Stopped: ``number`` is a signal to stop.
        """
        if self.pending == SAVE:
            self.pending = 0
        if number in STOP:
            raise Stopped(number)


def weightier(*numbers: int) -> int:
    """Of signals (0: none) the one to follow: to stop before to save, SIGTERM before SIGINT."""
    return max(numbers, key=(0, int(SAVE), *map(int, STOP)).index)


def agreed(pending: int) -> int:
    """The signal that weighs most, of those of all processes, which all have to ask."""
    return weightier(*map(int, all_gather(torch.tensor(pending))))


def _tell_of(number: int) -> None:
    again = '' if _COPIES_FROM_TORCHRUN in os.environ else '; a second signal ends it at once'
    line = f'{signal.Signals(number).name}: the run saves and ends{again}\n'
    # Not by print, which is not made for signal handlers. Ctrl-C may have ended who reads it.
    with suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), line.encode())


def _end(number: int) -> None:
    print('A second signal: ended without saving', file=sys.stderr, flush=True)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(128 + number)


def leave_signals_to_the_run() -> None:
    """Make a worker of a data loader follow no signals but its run's.

    Ctrl-C and Slurm signal all processes. The run still needs its workers then, to come to its next
    step. It ends them itself, by SIGTERM where all else fails; which process sent that is known to
    ``sigwaitinfo`` alone. When the run is gone, workers end by themselves.
    """
    for number in (SAVE, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        run = os.getppid()
        threading.Thread(target=_end_with, args=(run,), name='signals', daemon=True).start()


def _end_with(run: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != run:
        pass
    os._exit(0)
