"""Read every image and label map once, in several processes."""

import hashlib
import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import mmcv
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmconvnext.data.orientation import ORIENTATION
from mmconvnext.errors import UserError, first_line
from mmconvnext.preflight.pixel_format import pixel_format

# The end of a complete file; a file without it may be incomplete.
_ENDS = {b'\xff\xd8\xff': b'\xff\xd9', b'\x89PNG': b'IEND\xaeB`\x82'}
_TAIL = 64  # bytes at the end to search for it, because some programs append a few
_CHUNK = 32  # files per task
_GLANCES = 32  # files, of which mostly the headers are read
# Problems that others ask for.
MISSING = 'does not exist'
# For fewer files, starting processes would take longer than reading.
_FEW = 400


@dataclass(frozen=True)
class Pair:
    """An image, optionally its label map, and how the pipeline decodes them (mmcv's names)."""

    image: str
    labels: str | None = None
    backend: str = 'cv2'
    flag: str = 'color'
    labels_backend: str = 'pillow'


@dataclass(frozen=True)
class Facts:
    """The contents of a pair. Sizes are (width, height) in decoded pixels; None if unreadable.

    ``counts`` has the number of pixels of each id in the label map, as on disk. A problem is '' or
    a few words. ``turned`` is EXIF's orientation if it rotates or mirrors the image, else 0.
    ``bits`` to ``more_pages`` are a :class:`.PixelFormat`, the default if the pipeline keeps all
    values; ``brightest`` is the largest value that it reads from a file of more than 8 bits.
    """

    image: str
    size: tuple[int, int] | None = None
    digest: bytes = b''
    problem: str = ''
    turned: int = 0
    bits: int = 8
    channels: int = 3
    floats: bool = False
    more_pages: bool = False
    brightest: int = 255
    labels: str | None = None
    labels_size: tuple[int, int] | None = None
    labels_problem: str = ''
    counts: dict[int, int] = field(default_factory=dict)

    @property
    def has_unread_values(self) -> bool:
        """Return whether OpenCV does not read the image because of its format."""
        return self.size is None and (self.floats or self.bits > 16)


Reader = Callable[[Sequence[Pair]], list[Facts]]


def read_pairs(pairs: Sequence[Pair], jobs: int = 1) -> Iterator[Facts]:
    """Read files in order, with ``jobs`` processes if there are many files.

    Raises UserError if a process died, probably for lack of memory.
    """
    if jobs <= 1 or len(pairs) < _FEW:
        yield from map(read_pair, pairs)
        return
    context = _context()
    try:
        with ProcessPoolExecutor(jobs, context, cv2.setNumThreads, (1,)) as pool:
            # In parts, because `map` would read all inputs and keep all results at once.
            stretch = 8 * jobs * _CHUNK
            for start in range(0, len(pairs), stretch):
                some = pairs[start : start + stretch]
                yield from pool.map(read_pair, some, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise UserError(
            f'--jobs {jobs}: a process that reads images died, perhaps for lack of memory; '
            'try --jobs 1, which needs the least memory'
        ) from error


def _context() -> multiprocessing.context.BaseContext:
    # Forking this process, which has threads of torch and the progress bar, could hang. A fork
    # server imports this module once for all processes.
    if sys.platform == 'win32':
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    return context


def read_pair(pair: Pair) -> Facts:
    """Decode an image and its labels like the pipeline; never raises for bad contents."""
    facts: dict = {'image': pair.image, 'labels': pair.labels}
    try:
        content = _content(pair.image)
        facts['digest'] = hashlib.blake2b(content, digest_size=16).digest()
        facts['turned'] = _examine(content)
        _add_format(facts, io.BytesIO(content), pair)
        image = _decoded(content, pair.flag, pair.backend)
        facts['size'] = image.shape[1], image.shape[0]
        facts['brightest'] = int(image.max()) if facts.get('bits', 8) > 8 else 255
    except Exception as error:  # decoders may raise anything
        facts['problem'] = _problem(error)
    try:
        if pair.labels is not None:
            labels = _decoded(_content(pair.labels), 'unchanged', pair.labels_backend).squeeze()
            facts |= _count(labels)
    except Exception as error:  # as above
        facts['labels_problem'] = _problem(error)
    return Facts(**facts)


def glance(pairs: Sequence[Pair]) -> list[Facts]:
    """Read a few of the images, evenly spaced, for size and pixel format; mostly the headers.

    Returns facts of all pairs; those that were not opened have only the name. Unreadable files are
    not a problem here, except missing ones.
    """
    places = np.linspace(0, len(pairs) - 1, min(len(pairs), _GLANCES)).round().astype(int)
    facts = [Facts(pair.image, labels=pair.labels) for pair in pairs]
    for place in places.tolist():
        facts[place] = _glance(pairs[place])
    return facts


def _glance(pair: Pair) -> Facts:
    facts: dict = {'image': pair.image, 'labels': pair.labels}
    try:
        with open(pair.image, 'rb') as file:
            _add_format(facts, file, pair)
        if facts.get('bits', 8) > 8:  # Pillow does not know all of these
            pixels = _decoded(_content(pair.image), pair.flag, pair.backend)
            facts['size'], facts['brightest'] = pixels.shape[1::-1], int(pixels.max())
        else:
            with Image.open(pair.image) as image:
                upright = image.getexif().get(ORIENTATION, 1) < 5
                facts['size'] = image.size if upright else image.size[::-1]
    except FileNotFoundError as error:
        facts['problem'] = _problem(error)
    except Exception:  # a reader of the whole file names the problem
        facts['size'] = None
    return Facts(**facts)


def _add_format(facts: dict, file: BinaryIO, pair: Pair) -> None:
    """Add the file's format; raise if OpenCV cannot read it, which would also warn of each file."""
    if pair.flag.startswith('color'):
        facts.update(pixel_format(file)._asdict())
        if pair.backend == 'cv2' and (facts['floats'] or facts['bits'] > 16):
            raise ValueError('values beyond 16 bits')


def _content(path: str) -> bytes:
    content = Path(path).read_bytes()
    if not content:
        raise ValueError('empty file')
    return content


def _decoded(content: bytes, flag: str, backend: str) -> np.ndarray:
    pixels = mmcv.imfrombytes(content, flag=flag, backend=backend)
    if pixels is None:
        raise ValueError('not an image')
    return pixels


def _examine(content: bytes) -> int:
    """Return :attr:`Facts.turned`; raise if an image is incomplete (OpenCV fills it with grey)."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            ends = [end for start, end in _ENDS.items() if content.startswith(start)]
            if not ends or ends[0] not in content[-_TAIL:]:
                image.load()
            orientation = image.getexif().get(ORIENTATION, 1)
            return orientation if orientation in range(2, 9) else 0
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return 0  # OpenCV may know the format, or allow its size


def _problem(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return MISSING
    if isinstance(error, UnidentifiedImageError):
        return 'not an image'
    number = getattr(error, 'errno', None)
    return os.strerror(number) if number else first_line(error)


def _count(labels: np.ndarray) -> dict[str, object]:
    """Return size, problem and counts for :class:`Facts`."""
    size = (labels.shape[1], labels.shape[0]) if labels.ndim > 1 else None
    if labels.ndim != 2:
        channels = labels.shape[-1] if labels.ndim > 2 else 0
        return {'labels_size': size, 'labels_problem': f'{channels} channels'}
    if labels.dtype.kind == 'f':
        if not np.array_equal(labels, np.round(labels)):
            return {'labels_size': size, 'labels_problem': 'fractions'}
        labels = labels.astype(np.int64)
    if labels.dtype in (np.bool_, np.uint8):  # ten times faster than sorting
        counts = np.bincount(labels.reshape(-1).astype(np.uint8, copy=False))
        ids = np.flatnonzero(counts)
        counts = counts[ids]
    else:
        ids, counts = np.unique(labels, return_counts=True)
    return {'labels_size': size, 'counts': dict(zip(ids.tolist(), counts.tolist()))}
