"""Class folders: datasets with one folder per class."""

import os
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from mmengine.config import Config

from mmconvnext.config_types import type_name
from mmconvnext.errors import ArgumentError, UserError

# Image endings, in lower case.
ENDINGS = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def class_folders(root: str) -> list[str]:
    """Return sorted names of folders in ``root``, except hidden ones, or raise ArgumentError."""
    try:
        with os.scandir(root) as entries:
            folders = sorted(e.name for e in entries if e.is_dir() and e.name[0] != '.')
    except OSError as error:
        raise ArgumentError(
            f'{root}: expected a folder with one folder per class, got {type(error).__name__}; set '
            'data_root=DIR, and data_prefix if the splits have other names'
        ) from error
    if not folders:
        raise ArgumentError(
            f'{root}: expected one folder per class, found no folders; sort the images into '
            'class folders'
        )
    return folders


def image_names(folder: str) -> Iterator[str]:
    """Yield names of the images in a folder, unsorted, except hidden files."""
    with os.scandir(folder) as entries:
        # Only the names are read: opening 1.28 million files would take minutes.
        for entry in entries:
            if entry.name.lower().endswith(ENDINGS) and not entry.name.startswith('.'):
                yield entry.name


def read_class_names(file: Path) -> dict[str, str]:
    """Return each folder's first class name, from lines ``FOLDER NAME[, SYNONYM…]`` of a file.

    Raises ArgumentError if the file cannot be read, or a line has another format.
    """
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f'class_names: {file}: expected a text file with lines FOLDER NAME, got '
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
    """Check that all splits have the same class folders, one for each class of the model.

    If a split lacked a class, the labels of all later classes would silently shift. Data with a
    ``class_names`` file have the classes of that file. Other kinds of data are not checked.

    Raises:
        UserError: class folders differ between splits, or their number differs from the model's.
    """
    datasets = {split: _image_folder(config, split) for split in splits}
    found = {split: _classes(dataset) for split, dataset in datasets.items() if dataset}
    for split, classes in found.items():
        first, expected = next(iter(found.items()))
        differing = sorted({*classes} ^ {*expected})
        if differing:
            raise UserError(
                f'data: expected the same class folders in {first} and {split}, got '
                f'{len(differing)} in only one of them: {", ".join(differing[:3])}; add or remove '
                'them, or set the same class_names for both datasets'
            )
        wanted = config.model.get('num_classes')
        if type_name(config.model) == 'ImageClassifier' and wanted not in (None, len(classes)):
            raise UserError(
                f'data: expected {wanted} class folders (model.num_classes), found '
                f'{len(classes)} in {split}; set --cfg-options model.num_classes={len(classes)}, '
                'use other data, or set class_names to a file with all classes'
            )


def require_a_batch(config: Config) -> None:
    """Raise a UserError if the data have fewer images than an iteration, with ``drop_last``."""
    loader = config.get('train_dataloader') or {}
    dataset = _image_folder(config, 'train')
    # The length of a RepeatDataset is known only after it is built.
    if not dataset or not loader.get('drop_last') or 'dataset' in loader['dataset']:
        return
    wanted = loader.get('batch_size', 1) * int(os.environ.get('WORLD_SIZE', 1))
    root = _root(dataset)
    folders = (os.path.join(root, folder) for folder in class_folders(root))
    images = chain.from_iterable(map(image_names, folders))
    found = sum(1 for _ in islice(images, wanted))
    if found < wanted:
        raise UserError(
            f'data: expected {wanted} images or more (the batch of all processes), found {found} '
            f'in {root}; set --cfg-options train_dataloader.batch_size=N'
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
    """Return the options of a split's ImageFolder, also inside a RepeatDataset, or None."""
    dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset if type_name(dataset) == 'ImageFolder' else None
