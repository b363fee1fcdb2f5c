"""Find the images and videos of a command line, and name their results."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from mmconvnext.errors import UserError

# fmt: off
IMAGE_SUFFIXES = frozenset([
    '.avif', '.bmp', '.dib', '.gif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm', '.png',
    '.pnm', '.ppm', '.tif', '.tiff', '.webp',
])
VIDEO_SUFFIXES = frozenset([
    '.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv',
])
# fmt: on


class Input(NamedTuple):
    """An image or a video.

    ``path`` is the file; ``given`` is its path below the given folder, or its file name; ``name``
    is the name of its results, without suffix: a relative path, unique among the inputs.
    """

    path: Path
    given: PurePath
    name: PurePath

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(named: Sequence[str], leave_out: Path | None = None) -> list[Input]:
    """Return the images and videos of files, folders and globs, each once, in the given order.

    - A folder gives its images, then those in its subfolders, in alphabetical order; no videos.
    - A glob (``**`` includes subfolders) gives the images and videos that it matches.
    - A file is an image, whatever its suffix, unless the suffix is a video's.

    Hidden files, and files in the folder ``leave_out``, where results are written, are found only
    by their own names. Raises UserError if a file does not exist, a folder has no images, or a glob
    has no match.
    """
    found: dict[str, tuple[Path, PurePath]] = {}
    for one in named:
        by_name = Path(one).expanduser().is_file()
        for path, given in _find(one):
            if by_name or not (leave_out and path.resolve().is_relative_to(leave_out.resolve())):
                found.setdefault(os.path.abspath(path), (path, given))
    if not found:
        raise UserError(f'{", ".join(named)}: expected images, found none but earlier results')
    paths, below = zip(*found.values())
    return list(map(Input, paths, below, _names(paths, below)))


def _find(named: str) -> Iterator[tuple[Path, PurePath]]:
    path = Path(named).expanduser()
    if path.is_dir():
        files = map(Path, _files_below(path))
        pictures = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if not pictures:
            raise UserError(
                f'{named}: expected a folder with images in it or below, found none '
                f'({" ".join(sorted(IMAGE_SUFFIXES))}); give videos as files or globs'
            )
        for file in pictures:
            yield file, file.relative_to(path)
    elif path.is_file():
        yield path, PurePath(path.name)
    elif glob.has_magic(named):
        files = map(Path, sorted(glob.glob(str(path), recursive=True)))
        known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
        matches = [match for match in files if match.suffix.lower() in known and match.is_file()]
        if not matches:
            raise UserError(f'{named}: expected a glob that matches images or videos, got none')
        for match in matches:
            yield match, PurePath(match.name)
    else:
        raise UserError(f'{named}: no such file or folder; expected images, folders or globs')


def _files_below(folder: Path) -> Iterator[str]:
    """Yield files in alphabetical order, without hidden files and hidden folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != '.')


def _names(paths: Sequence[Path], given: Sequence[PurePath]) -> list[PurePath]:
    """Return a unique name for each file, even if upper and lower case are not distinguished.

    The name is the path below the given folder, without suffix. Equal names get their suffix. If
    they are still equal, the name is the path below the files' common folder.
    """
    names = [one.with_suffix('') for one in given]
    for these in _same(names):
        others = [given[i] for i in these]
        if _same(others):
            whole = [paths[i].absolute().with_suffix('') for i in these]
            common = os.path.commonpath([path.parent for path in whole])
            others = [PurePath(path.relative_to(common)) for path in whole]
        for i, name in zip(these, others):
            names[i] = name
    for these in _same(names):
        for i in these:
            names[i] = names[i].with_name(names[i].name + paths[i].suffix)
    return _number(names)


def _same(names: Sequence[PurePath]) -> list[list[int]]:
    """Return the positions of each name that occurs more than once."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(str(name).casefold(), []).append(i)
    return [these for these in places.values() if len(these) > 1]


def _number(names: Sequence[PurePath]) -> list[PurePath]:
    """Append a number to names that are still equal, which is rare."""
    unique: list[PurePath] = []
    taken: set[str] = set()
    for name in names:
        candidate, number = name, 2
        while str(candidate).casefold() in taken:
            candidate = name.with_name(f'{name.name}-{number}')
            number += 1
        taken.add(str(candidate).casefold())
        unique.append(candidate)
    return unique
