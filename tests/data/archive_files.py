"""Small zip files in the layout of the official ones, for tests."""

import random
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from mmconvnext.data.official import ADE20K, COCO, DataSet, Expected


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with ZipFile(path, 'w', ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def miniature(dataset: DataSet, number: int = 2) -> DataSet:
    """The dataset with ``number`` files where there are thousands."""
    return dataset._replace(
        expected=tuple(
            Expected(part.pattern, min(part.number, number)) for part in dataset.expected
        )
    )


def write_archives(dataset: DataSet, folder: Path) -> list[Path]:
    """One zip file for each archive of a miniature dataset."""
    generator, paths = random.Random(0), []
    for archive in dataset.archives:
        members = {f'{archive.folder}/': b'', '__MACOSX/._x': b'x'}
        for part in dataset.expected:
            if part.pattern.startswith(f'{archive.folder}/'):
                for i in range(part.number):
                    name = part.pattern.replace('*', f'{i:012d}')
                    members[name] = generator.randbytes(200)
        paths.append(write_zip(folder / archive.name, members))
    return paths


SMALL_ADE20K, SMALL_COCO = miniature(ADE20K), miniature(COCO)
