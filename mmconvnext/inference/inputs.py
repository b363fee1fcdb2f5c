"""Which images and videos a command line means, and what their results are called."""

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

    ``path`` is the file; ``given`` its path below the folder that was named, or its file name;
    ``name`` what its results are called, without suffix: a relative path, unique among the inputs.
    """

    path: Path
    given: PurePath
    name: PurePath

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(named: Sequence[str], leave_out: Path | None = None) -> list[Input]:
    """The images and videos that files, folders and globs name, each once, in the given order.

    A folder gives the images in it, then those below, in alphabetical order, no videos; a glob
    (``**`` goes through folders) the images and videos that it matches; a file is taken for an
    image whatever its suffix, unless that is a video's. Hidden files are found by their own name
    only, and so are those in the folder ``leave_out``, where results are written. Raises UserError
    where one of them is not there, is a folder without images or a glob without match.
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
                f'({" ".join(sorted(IMAGE_SUFFIXES))}); videos are named one by one'
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
    """Files in alphabetical order; hidden ones and those in hidden folders are left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != '.')


def _names(paths: Sequence[Path], given: Sequence[PurePath]) -> list[PurePath]:
    """A name for each file, none twice, also where upper and lower case are the same.

    Its path below the folder that was named, without suffix; for those of which this is the same,
    with suffix; where that does not tell them apart, the path below the folder that they have in
    common.
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
    """The places of each name that occurs more than once."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(str(name).casefold(), []).append(i)
    return [these for these in places.values() if len(these) > 1]


def _number(names: Sequence[PurePath]) -> list[PurePath]:
    """A number behind what is there already even so; almost never any."""
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
