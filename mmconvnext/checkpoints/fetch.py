"""A checkpoint's file on this machine, downloaded if need be."""

import re
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from filelock import FileLock

from mmconvnext.errors import CheckpointError

# torch hub's convention: a file name ending in -<8 or more hex digits>.<ending> holds the
# beginning of its SHA-256.
_HASH = re.compile(r'-([a-f0-9]{8,})\.')


def is_url(checkpoint: str) -> bool:
    """Whether ``checkpoint`` is an http(s) address rather than a path."""
    return urlparse(str(checkpoint)).scheme in ('http', 'https')


def cache_path(url: str) -> Path:
    """Where the download of ``url`` is kept: ``checkpoints/`` in torch hub's folder."""
    return Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(url).path).name


def fetch(checkpoint: str, *, progress: bool = True) -> Path:
    """Path of a checkpoint given as a path or an http(s) URL.

    A URL is downloaded once into torch hub's cache. The file appears there complete or not at
    all: the download goes to a temporary file, is checked against the hash in its name where
    there is one, and is then moved. Processes of one machine wait for each other.

    Raises:
        CheckpointError: there is no such file, or the download failed.
    """
    if not is_url(checkpoint):
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise CheckpointError(f'{checkpoint}: no such checkpoint file')
        return path
    path = cache_path(checkpoint)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{path}.lock'):
        if not path.is_file():
            _download(checkpoint, path, progress)
    return path


def _download(url: str, path: Path, progress: bool) -> None:
    hashed = _HASH.search(path.name)
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=hashed and hashed[1], progress=progress
        )
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f'{url}: the download failed ({error}); put the file at {path} by hand, or name '
            'another one (tools/train.py: --pretrained FILE|URL|none)'
        ) from error
