"""A work dir belongs to one training at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmconvnext.errors import UserError
from mmconvnext.processes import is_first_process

# Workers of a training that was killed have its lock for some seconds still.
_PATIENCE = 10
_LOCK = '.lock'


@contextmanager
def hold(work_dir: str) -> Iterator[None]:
    """Lock a work dir: two trainings in one would remove each other's checkpoints.

    The first process of a run has the lock. Where the file system knows no locks, there is none. A
    folder that nothing was written into does not stay.

    Raises:
        UserError: another training has it.
        OSError: the folder cannot be written to.
    """
    if not is_first_process():
        yield
        return
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout as error:
        raise UserError(
            f'{work_dir}: expected no other training in it, one is running; wait for its end, or '
            'choose another --work-dir'
        ) from error
    except NotImplementedError:
        pass
    try:
        yield
    finally:
        lock.release()
        if {path.name for path in folder.iterdir()} <= {_LOCK}:
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
