"""A work dir belongs to one training at a time."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmconvnext.errors import UserError
from mmconvnext.processes import is_first_process

# Workers of a training that was killed have its lock for some seconds still.
_PATIENCE = 10
_LOCK = '.lock'
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EIO)


@contextmanager
def hold(work_dir: str, launcher: str = 'none') -> Iterator[None]:
    """Lock a work dir: two trainings in one would remove each other's checkpoints.

    The first process of a run has the lock. Where the file system knows no locks, there is none. A
    folder that nothing was written into does not stay.

    Raises:
        UserError: another training has it.
        OSError: the folder cannot be written to.
    """
    if not is_first_process(launcher):
        yield
        return
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder / _LOCK)
    try:
        yield
    finally:
        with suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {_LOCK}:
                (folder / _LOCK).unlink(missing_ok=True)
                folder.rmdir()
        if lock is not None:
            lock.release()


def _locked(path: Path) -> FileLock | None:
    try:
        # A marker in place of a lock would stay after a training that was killed.
        lock = FileLock(path, fallback_to_soft=False)
    except TypeError:  # filelock had no such option, nor markers
        lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout as error:
        raise UserError(
            f'{path.parent}: expected no other training in it, one is running and has locked '
            f'{path.name}; wait for its end, or choose another --work-dir'
        ) from error
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return lock
