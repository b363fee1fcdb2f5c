"""Lock a work dir, so that only one training uses it at a time."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmconvnext.errors import UserError
from mmconvnext.files import make_folder
from mmconvnext.processes import is_first_process

# Workers of a killed training keep its lock for some seconds.
_PATIENCE = 10
_LOCK = '.lock'
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EIO)


@contextmanager
def hold(work_dir: str, launcher: str = 'none') -> Iterator[None]:
    """Lock a work dir: two trainings in it would remove each other's checkpoints.

    The first process of a run holds the lock. File systems without locks are not locked. A folder
    without files is removed at the end.

    Raises:
        UserError: the folder cannot be made or written to, or another training holds the lock.
    """
    if not is_first_process(launcher):
        yield
        return
    folder = Path(work_dir)
    make_folder('--work-dir', folder)
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
        # A marker file instead of a lock would remain after a killed training.
        lock = FileLock(path, fallback_to_soft=False)
    except TypeError:  # older filelock: without this option, and without marker files
        lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout as error:
        raise UserError(
            f'{path.parent}: expected no other training in this work dir, found one (lock file '
            f'{path.name}); wait until it ends, or choose another --work-dir'
        ) from error
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return lock
