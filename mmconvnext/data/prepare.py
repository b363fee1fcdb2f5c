"""Unpack a dataset's official archives into the layout that the configs expect."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table

from mmconvnext.data.archives import open_archive, unpack
from mmconvnext.data.download import download
from mmconvnext.data.official import Archive, DataSet
from mmconvnext.errors import UserError


def prepare(
    dataset: DataSet, root: Path, archives: Sequence[Path] = (), *, fetch: bool = False
) -> bool:
    """Unpack a dataset's archives below ``root``, and print and check the numbers of files.

    Archives may have any names: they are recognised by their contents. Archives in ``root`` with
    their official names are found automatically, and ``fetch`` downloads missing archives there.
    Existing files are not unpacked again, and a complete dataset needs no archives. Returns whether
    the dataset is complete. Raises UserError if an archive is missing, unknown, broken or harmful.
    """
    # All archives are checked before the first one is unpacked.
    for path, archive in [(path, recognise(path, dataset)) for path in archives]:
        _unpack(path, root, archive)
    lacking = []
    for archive in dataset.archives:
        path = root / archive.name
        if not _lacks_files(dataset, root, archive):
            continue
        if fetch:
            with _progress(archive.name) as report:
                download(archive.url, path, report=report)
        if not path.is_file():
            lacking.append(archive)
        elif path.resolve() not in [given.resolve() for given in archives]:
            _unpack(path, root, recognise(path, dataset))
    complete = _tell_counts(dataset, root)
    if lacking:
        _tell_how_to_get(dataset, root, lacking)
    elif not complete:
        print(
            f'The differences are not in the archives of {dataset.title}: move surplus files '
            'away, or unpack into another folder with --data-root'
        )
    return complete


def recognise(path: Path, dataset: DataSet) -> Archive:
    """Return which of a dataset's archives a file is, by its contents, or raise UserError."""
    with open_archive(path) as archive:
        names = archive.namelist()
    for known in dataset.archives:
        if any(name.startswith(known.marker) for name in names):
            return known
    inside = ', '.join(sorted({name.split('/')[0] for name in names})[:3]) or 'nothing'
    expected = ' or '.join(f'{known.name} (with {known.marker})' for known in dataset.archives)
    raise UserError(
        f'{path}: expected {expected}, got a zip file of {inside}; run this without it to see '
        'where to get the right archive'
    )


def _unpack(path: Path, root: Path, archive: Archive) -> None:
    with _progress(path.name) as report:
        written = unpack(path, root, folder=archive.folder, report=report)
    print(f'{path}: {f"{written:,} files unpacked" if written else "already unpacked"}')


def _lacks_files(dataset: DataSet, root: Path, archive: Archive) -> bool:
    return any(
        part.pattern.startswith(f'{archive.folder}/') and part.count(root) < part.number
        for part in dataset.expected
    )


def _tell_how_to_get(dataset: DataSet, root: Path, lacking: Sequence[Archive]) -> None:
    total = _readable(sum(archive.size for archive in lacking))
    print('To get what is missing, download')
    for archive in lacking:
        print(f'  {archive.url} (about {_readable(archive.size)}) to {root / archive.name}')
    print(
        'and run this again, or name the files wherever they lie, or add --download: about '
        f'{total},\nand as much again to unpack. Terms of {dataset.title}: {dataset.terms}'
    )


def _tell_counts(dataset: DataSet, root: Path) -> bool:
    """Print the numbers of files, and return whether they are as expected."""
    table = Table(f'{dataset.title} in {root}', 'expected', 'found')
    complete = True
    for part in dataset.expected:
        found = part.count(root)
        complete &= found == part.number
        mark = '' if found == part.number else ' ← differs'
        table.add_row(part.pattern, f'{part.number:,}', f'{found:,}{mark}')
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return complete


def _readable(size: int) -> str:
    return f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.0f} MB'


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on stderr; yield what to call with (bytes done, total bytes)."""
    console = Console(stderr=True)
    columns = ('{task.description}', BarColumn(), DownloadColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
