"""Folders that stand for classes."""

import os
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from mmengine.config import Config

from mmconvnext.config_types import type_name
from mmconvnext.errors import ArgumentError, UserError

# Of images, in lower case.
ENDINGS = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def class_folders(root: str) -> list[str]:
    """Sorted names of the folders in ``root`` but hidden ones; an ArgumentError where none are."""
    try:
        with os.scandir(root) as entries:
            folders = sorted(e.name for e in entries if e.is_dir() and e.name[0] != '.')
    except OSError as error:
        raise ArgumentError(
            f'{root}: expected a folder with one folder a class, got {type(error).__name__}; give '
            'data_root=DIR, and data_prefix where its splits are called otherwise'
        ) from error
    if not folders:
        raise ArgumentError(
            f'{root}: expected one folder a class, found no folders; sort the images into '
            'folders of their classes'
        )
    return folders


def image_names(folder: str) -> Iterator[str]:
    """Names of the images in a folder, as they come; hidden files are left out."""
    with os.scandir(folder) as entries:
        # Names alone: to look at 1.28 million files takes minutes.
        for entry in entries:
            if entry.name.lower().endswith(ENDINGS) and not entry.name.startswith('.'):
                yield entry.name


def read_class_names(file: Path) -> dict[str, str]:
    """First name of each class by its folder, from a text with lines ``FOLDER NAME[, SYNONYM…]``.

    Raises ArgumentError where it cannot be read, or a line is not such.
    """
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f'class_names: {file}: expected a text file of lines FOLDER NAME, got '
            f'{type(error).__name__}'
        ) from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        folder, name = [*line.split(None, 1), ''][:2]
        if not name.strip() or folder in names:
            raise ArgumentError(
                f'class_names: {file}, line {number}: expected FOLDER NAME, each folder once, got '
                f'{line!r}'
            )
        names[folder] = name.split(',')[0].strip()
    return names


def require_classes(config: Config, *splits: str) -> None:
    """Check that the class folders of all splits are the same, and as many as the model's classes.

    A class that one split lacks would silently shift the labels of those after it. Data with a
    ``class_names`` file have the classes of that. Data of any other kind are left alone.

    Raises:
        UserError: they are not.
    """
    datasets = {split: _image_folder(config, split) for split in splits}
    found = {split: _classes(dataset) for split, dataset in datasets.items() if dataset}
    for split, classes in found.items():
        first, expected = next(iter(found.items()))
        differing = sorted({*classes} ^ {*expected})
        if differing:
            raise UserError(
                f'data: expected the same class folders in {first} and {split}, got '
                f'{len(differing)} in one of them alone: {", ".join(differing[:3])}; add or remove '
                'them, or give both datasets the same class_names'
            )
        wanted = config.model.get('num_classes')
        if type_name(config.model) == 'ImageClassifier' and wanted not in (None, len(classes)):
            raise UserError(
                f'data: expected {wanted} class folders (model.num_classes), found '
                f'{len(classes)} in {split}; give --cfg-options model.num_classes={len(classes)}, '
                'other data, or a file with all classes as class_names'
            )


def require_a_batch(config: Config) -> None:
    """Raise a UserError where ``drop_last`` would leave fewer images than an iteration takes."""
    loader = config.get('train_dataloader') or {}
    dataset = _image_folder(config, 'train')
    # How many a RepeatDataset has, nobody can tell before it is built.
    if not dataset or not loader.get('drop_last') or 'dataset' in loader['dataset']:
        return
    wanted = loader.get('batch_size', 1) * int(os.environ.get('WORLD_SIZE', 1))
    root = _root(dataset)
    folders = (os.path.join(root, folder) for folder in class_folders(root))
    images = chain.from_iterable(map(image_names, folders))
    found = sum(1 for _ in islice(images, wanted))
    if found < wanted:
        raise UserError(
            f'data: expected {wanted} images or more, a batch of all processes, found {found} '
            f'in {root}; give --cfg-options train_dataloader.batch_size=N'
        )


def _classes(dataset: Mapping) -> list[str]:
    folders, file = class_folders(_root(dataset)), dataset.get('class_names')
    if not file:
        return folders
    return sorted(read_class_names(Path(dataset.get('data_root') or '', file)))


def _root(dataset: Mapping) -> str:
    prefix = (dataset.get('data_prefix') or {}).get('img_path', 'train')
    return os.path.join(dataset.get('data_root') or '', prefix)


def _image_folder(config: Config, split: str) -> Mapping | None:
    """The options of a split's ImageFolder, perhaps within a RepeatDataset; None of other data."""
    dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset if type_name(dataset) == 'ImageFolder' else None
