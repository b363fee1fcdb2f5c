"""Get a checkpoint's file onto this machine, downloading it if necessary."""

import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from mmconvnext.errors import CheckpointError, first_line

# torch hub's convention: a file name ending in -<8 or more hex digits>.<ending> contains the
# beginning of its SHA-256. Decimal digits alone are a date or a counter.
_HASH = re.compile(r'-(?=\d*[a-f])([a-f0-9]{8,})\.')

_PATIENCE = 60  # seconds that a server may stay silent
_COLUMNS = ('{task.description}', BarColumn(), DownloadColumn(), TimeRemainingColumn())


def is_url(checkpoint: str) -> bool:
    """Return whether ``checkpoint`` is an http(s) address rather than a path."""
    return urlparse(str(checkpoint)).scheme in ('http', 'https')


def named_hash(name: str) -> str | None:
    """Return the beginning of the SHA-256 in a file name, or None."""
    found = _HASH.search(name)
    return found[1] if found else None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def cache_path(url: str) -> Path:
    """Return the path of the download of ``url``, below ``checkpoints/`` in torch hub's folder.

    If a file of this name was downloaded from another address (``model.safetensors`` is a
    frequent name), that file stays and ``url`` gets a separate folder.

    Raises:
        CheckpointError: the address has no file name.
    """
    name = Path(urlparse(url).path).name
    if not name:
        raise CheckpointError(f'{url}: expected the address of a file')
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    origin = _origin(folder / name)
    if origin.is_file() and origin.read_text() != url:
        folder = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
    return folder / name


def _origin(path: Path) -> Path:
    """Return the file next to a download that stores its address."""
    return path.with_name(f'{path.name}.url')


def fetch(checkpoint: str, *, sha256: str | None = None, progress: bool = True) -> Path:
    """Return the local path of a checkpoint: a path, http(s) URL or hf://OWNER/REPOSITORY/FILE.

    hf:// addresses use huggingface_hub and its cache. A URL is downloaded once, into torch hub's
    cache.
    The file is complete or absent: a download goes to a temporary file, is checked against the
    server's length and the hash in the file name, if given, and is then moved. Processes on one
    machine wait for each other. A file that already exists is checked only against ``sha256``,
    which may be the beginning of a hash. ``progress`` shows a progress bar.

    Raises:
        CheckpointError: the file does not exist, the download failed, or the file's hash is not
            ``sha256``.
    """
    if str(checkpoint).startswith('hf://'):
        path = _fetch_from_hub(checkpoint)
    elif is_url(checkpoint):
        path = _fetch_from_url(checkpoint, sha256, progress)
    else:
        path = Path(checkpoint).expanduser()
        if path.is_dir():
            raise CheckpointError(f'{checkpoint}: expected a checkpoint file, got a folder')
        if not path.is_file():
            raise CheckpointError(f'{checkpoint}: no such checkpoint file')
    if sha256 is not None:
        try:
            _check_hash(path, sha256)
        except ValueError as error:
            raise CheckpointError(f'{path}: {error}') from error
    return path


def _fetch_from_url(url: str, sha256: str | None, progress: bool) -> Path:
    path = cache_path(url)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{path}.lock'):
            path = cache_path(url)  # again: another process may have used the name meanwhile
            if not path.is_file():
                _download(url, path, sha256, progress)
    except (OSError, HTTPException, ValueError) as error:
        raise CheckpointError(
            f'{url}: the download failed ({first_line(error)}); put the file at {path} by '
            'hand, or name another one (tools/train.py: --pretrained FILE|URL|none)'
        ) from error
    return path


def _fetch_from_hub(address: str) -> Path:
    owner, _, rest = address.removeprefix('hf://').partition('/')
    repository, _, file = rest.partition('/')
    if not file:
        raise CheckpointError(f'{address}: expected hf://OWNER/REPOSITORY/FILE')
    by_hand = Path(torch.hub.get_dir(), 'checkpoints', repository, file)
    if by_hand.is_file():
        return by_hand
    page = f'https://huggingface.co/{owner}/{repository}/resolve/main/{file}'
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(
            f'{address}: needs huggingface_hub: pip install "mmconvnext[hub]", or put {page} at '
            f'{by_hand} by hand'
        ) from error
    try:
        return Path(hf_hub_download(f'{owner}/{repository}', file))
    except Exception as error:  # errors of huggingface_hub and of its HTTP library
        raise CheckpointError(
            f'{address}: the download failed ({first_line(error)}); put {page} at {by_hand} by hand'
        ) from error


def _download(url: str, path: Path, sha256: str | None, progress: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f'{path.name}.partial')
    size = 0
    try:
        with urlopen(url, timeout=_PATIENCE) as response, partial.open('wb') as file:
            announced = response.headers.get('Content-Length')
            with Progress(*_COLUMNS, console=Console(stderr=True), disable=not progress) as bar:
                task = bar.add_task(path.name, total=announced and int(announced))
                while chunk := response.read(1 << 20):
                    file.write(chunk)
                    size += len(chunk)
                    bar.update(task, completed=size)
        if announced is not None and size != int(announced):
            raise ValueError(f'expected {announced} bytes, got {size}')
        for expected in filter(None, (sha256, named_hash(path.name))):
            _check_hash(partial, expected)
        _origin(path).write_text(url)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def discard(path: Path) -> bool:
    """Remove a broken download; keep a file that a user put into the cache."""
    if not _origin(path).is_file():
        return False
    path.unlink(missing_ok=True)
    _origin(path).unlink()
    return True


def _check_hash(path: Path, expected: str) -> None:
    digest = sha256_of(path)
    if not digest.startswith(expected.lower()):
        raise ValueError(f'expected a SHA-256 of {expected}, got {digest}')
