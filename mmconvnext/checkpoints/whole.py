"""Write and check checkpoint files: complete or absent, never partial."""

import errno
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import torch

from mmconvnext.errors import CheckpointError, first_line

_PARTIAL = '.partial'
_LOCAL_HEADER = 30  # bytes of a zip entry's header before its name
_CHUNK = 1 << 24  # bytes per CRC update
_intact: set[tuple[int, ...]] = set()  # files that were checked, by their `stat` values
_LITTLE = 1 << 20  # bytes: a file system with less free space is full


def save_whole(content: object, path: Path, check: Callable[[], None] | None = None) -> None:
    """Write with ``torch.save``; ``path`` is then complete, or unchanged after an error.

    A temporary file in the same folder is written, flushed to the disk and renamed. ``check`` runs
    at the same time; if it raises, nothing is written.

    Raises:
        CheckpointError: the file could not be written, for example because the disk is full. No
            partial file is left.
    """
    with _replacing(path) as partial, _checked(check):
        torch.save(content, partial)
        _sync(partial)


def write_text_whole(text: str, path: Path) -> None:
    """Write a text file like :func:`save_whole`.

    Raises:
        CheckpointError: the file could not be written.
    """
    with _replacing(path) as partial:
        partial.write_text(text, encoding='utf-8')
        _sync(partial)


@contextmanager
def _checked(check: Callable[[], None] | None) -> Iterator[None]:
    """Run ``check`` in a thread meanwhile; None starts no thread."""
    if check is None:
        yield
        return
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(check)
        yield
        result.result()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    partial = path.with_name(f'.{path.name}{_PARTIAL}')
    try:
        yield partial
        os.replace(partial, path)
        _sync(path.parent)  # so that the new name is on the disk too
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError
        raise CheckpointError(_unwritable(path, error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: Exception) -> str:
    try:
        full = shutil.disk_usage(path.parent).free < _LITTLE
    except OSError:
        full = False
    if full or getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT):
        return (
            f'{path}: could not be written: no space is left; earlier files are unharmed: '
            'free some space, then continue with --resume'
        )
    return f'{path}: could not be written ({first_line(error)}); earlier files are unharmed'


def remove_partial(folder: Path) -> list[Path]:
    """Remove unfinished files of earlier processes from a folder."""
    found = sorted(folder.glob(f'.*{_PARTIAL}'))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def file_state(path: Path) -> tuple[int, ...]:
    """Return values that identify a file's current state and change with every write."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def require_intact(path: Path) -> None:
    """Check the bytes of a file of ``torch.save`` against the CRC-32 values in it.

    torch's own reader does not check them. The file is read once, by two threads. Files without
    CRCs (``torch.serialization.set_crc32_options(False)``) and files in torch's format before 1.6
    pass.

    Each file is checked once per process, unless it changes.

    Raises:
        CheckpointError: the file is cut short or damaged.
    """
    try:
        state = file_state(path)
        if state in _intact:
            return
        with ZipFile(path) as archive:
            entries = archive.infolist()
        if not any(entry.CRC for entry in entries):
            return
        with (
            path.open('rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
            ThreadPoolExecutor(2) as threads,
        ):
            intact = list(threads.map(lambda entry: _crc(view, entry) == entry.CRC, entries))
    except (BadZipFile, ValueError, OSError) as error:
        raise CheckpointError(
            f'{path}: not a complete checkpoint ({first_line(error)}); use another one, or '
            'download it again'
        ) from error
    if damaged := [entry.filename for entry, good in zip(entries, intact) if not good]:
        raise CheckpointError(
            f'{path}: damaged: the CRC-32 of {damaged[0].partition("/")[2]} differs from the value '
            'in the file; use another one, or download it again'
        )
    _intact.add(state)


def _crc(content: memoryview, entry: ZipInfo) -> int:
    header = content[entry.header_offset : entry.header_offset + _LOCAL_HEADER]
    start = entry.header_offset + _LOCAL_HEADER
    start += int.from_bytes(header[26:28], 'little') + int.from_bytes(header[28:30], 'little')
    crc, end = 0, start + entry.compress_size
    for place in range(start, end, _CHUNK):
        crc = zlib.crc32(content[place : min(place + _CHUNK, end)], crc)
    return crc
