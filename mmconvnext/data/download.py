"""Download a large file from a web server, resuming an interrupted download."""

import re
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from mmconvnext.data.archives import require_space
from mmconvnext.errors import UserError, first_line

# Seconds that a server may stay silent.
_PATIENCE = 60
_CHUNK = 1 << 20


def download(
    url: str, path: Path, *, report: Callable[[int, int | None], None] | None = None
) -> Path:
    """Download ``url`` to ``path``, unless the file exists.

    An incomplete download is kept as ``PATH.part``, and the next call continues it if the server
    can send parts. ``report`` is called with (bytes so far, total bytes); the total is None if the
    server does not tell it.

    Raises:
        UserError: the server does not answer or reports an error, the download is incomplete, the
            disk is too small, or another process is downloading the same file.
    """
    if path.is_file():
        return path
    partial, lock = path.with_name(f'{path.name}.part'), path.with_name(f'{path.name}.lock')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            _receive(url, partial, report)
            partial.replace(path)
            lock.unlink(missing_ok=True)
    except Timeout as error:
        raise UserError(
            f'{path}: another process is downloading it; wait until that process ends'
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f'{url}: the download failed ({first_line(error)}); run the command again to '
            f'continue it, or put the file at {path} by hand'
        ) from error
    return path


def _receive(url: str, partial: Path, report: Callable[[int, int | None], None] | None) -> None:
    size = partial.stat().st_size if partial.is_file() else 0
    response = _ask(url, size)
    if response is None:
        return
    with response:
        size = size if response.status == 206 else 0  # a server may send the whole file anyway
        announced = response.headers.get('Content-Length')
        total = size + int(announced) if announced is not None else None
        require_space(partial.parent, int(announced or 0))
        with partial.open('ab' if size else 'wb') as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                size += len(chunk)
                if report:
                    report(size, total)
    if total is not None and size != total:
        raise ValueError(f'expected {total} bytes, got {size}')


def _ask(url: str, start: int) -> HTTPResponse | None:
    """Return the server's answer, from byte ``start`` if possible; None if nothing is left."""
    headers = {'Range': f'bytes={start}-'} if start else {}
    try:
        response = urlopen(Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        if not start or error.code != 416:
            raise
        error.close()
        whole = re.fullmatch(r'bytes \*/(\d+)', error.headers.get('Content-Range', ''))
        # Either the file is complete, or the bytes here belong to another file.
        return None if whole and int(whole[1]) == start else _ask(url, 0)
    told = response.headers.get('Content-Range', '')
    if response.status == 206 and not told.startswith(f'bytes {start}-'):
        response.close()
        raise ValueError(f'expected bytes from {start}, the server sent {told!r}')
    return response
