"""Notice that another process of the run has ended."""

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import all_gather_object, barrier, get_rank, get_world_size

from mmconvnext.errors import UserError, first_line
from mmconvnext.processes import started_by_torchrun

_INTERVAL = 2  # seconds between two looks
_PATIENCE = 30  # seconds for this process to end by itself: collectives over NCCL wait 10 minutes
_LOST = re.compile(r'gloo|NCCL|TCPStore|[Cc]onnection (closed|reset)|Broken pipe')


class LostProcessError(UserError):
    """Another process of the run has ended, so that this one cannot continue."""


class Peers:
    """The other processes of the run on this machine, by rank."""

    def __init__(self) -> None:
        places = all_gather_object((_namespace(), os.getpid()))
        here = places[get_rank()][0]
        self._others = {
            rank: pid
            for rank, (place, pid) in enumerate(places)
            if here and place == here and pid != os.getpid()
        }

        self._ended: dict[int, int] = {}

    def ended(self) -> dict[int, int]:
        """Return the process ids, by rank, of the first that have ended."""
        if not self._ended:  # the others then end because of them
            self._ended = {rank: pid for rank, pid in self._others.items() if _has_ended(pid)}
        return self._ended

    def error(self) -> LostProcessError | None:
        """Return the error for processes that have ended; ``None`` if all are running."""
        ended = self.ended()
        if not ended:
            return None
        names = ', '.join(f'{rank} (PID {pid})' for rank, pid in ended.items())
        error = LostProcessError(
            f'expected {get_world_size()} processes, but process {names} has ended (see its last '
            'lines); continue with --resume'
        )
        # One process tells it. torchrun tells it itself.
        running = self._others.keys() - ended.keys()
        error.silent = started_by_torchrun() or any(rank < get_rank() for rank in running)
        return error


def _namespace() -> tuple[str, str] | None:
    """Return the machine and container whose process ids are seen; ``None`` without /proc."""
    try:
        return socket.gethostname(), os.readlink('/proc/self/ns/pid')
    except OSError:
        return None


def _has_ended(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in 'ZX'  # a zombie is dead


@contextmanager
def peers_needed() -> Iterator[Peers | None]:
    """End this process if another one ends within, and wait for all of them at the end.

    Raises:
        LostProcessError: another process has ended.
    """
    if get_world_size() == 1:
        yield None
        return
    peers, done = Peers(), threading.Event()
    threading.Thread(target=_watch, args=(peers, done), name='peers', daemon=True).start()
    try:
        yield peers
        barrier()  # else those that need longer would miss the first to end
    except RuntimeError as error:
        if _LOST.search(str(error)):
            raise _lost(peers, error) from error
        raise
    finally:
        done.set()


def _lost(peers: Peers, cause: RuntimeError) -> LostProcessError:
    """Return the error for a collective that failed."""
    for _ in range(50):
        if found := peers.error():
            time.sleep(2 * _INTERVAL)  # so that the others see who ended first
            return found
        time.sleep(0.1)  # connections close before a process has ended
    return LostProcessError(
        f'the connection to a process on another machine was lost ({first_line(cause)}); continue '
        'with --resume'
    )


def _watch(peers: Peers, done: threading.Event) -> None:
    while not done.wait(_INTERVAL):
        error = peers.error()
        if error and not done.wait(_PATIENCE):
            if not error.silent:
                print(f'error: {error}', file=sys.stderr, flush=True)
            os._exit(1)  # the main thread is inside a collective
