"""Whether the data a config names are there."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from mmengine.config import Config

from mmconvnext.data.class_folders import require_a_batch, require_classes
from mmconvnext.errors import UserError


def require_data(config: Config, *splits: str) -> None:
    """Check that the folders and files of the given splits exist, before anything is built.

    Of data with one folder a class, also that every split and the model have the same classes. The
    config's ``data_hint``, where it has one, tells how to get the data.

    Raises:
        UserError: the first one missing or of other classes, in one line.
    """
    overrides = ' '.join(f'{split}_dataloader.dataset.data_root=DIR' for split in splits)
    for split in splits:
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset')
        evaluated = (evaluator.get('ann_file') for evaluator in evaluators(config, split))
        for path in [*_paths(dataset), *filter(_is_local, evaluated)] if dataset else []:
            if not Path(path).exists():
                hint = f'{config.data_hint}, ' if config.get('data_hint') else ''
                override = 'data_root=DIR' if config.get('data_root') else overrides
                raise UserError(
                    f'data: {path} does not exist ({split}_dataloader of the config); {hint}'
                    f'or name another folder with --cfg-options {override}'
                )
    require_classes(config, *splits)
    if 'train' in splits:
        require_a_batch(config)


def evaluators(config: Config, split: str) -> list[Mapping]:
    """The evaluators of a split; a config may give one, several or none."""
    given = config.get(f'{split}_evaluator') or []
    return given if isinstance(given, list) else [given]


def _paths(dataset: Mapping) -> Iterator[str]:
    """Local folders and annotation files of a dataset, wrappers such as RepeatDataset in."""
    for inner in filter(None, [dataset.get('dataset'), *(dataset.get('datasets') or [])]):
        yield from _paths(inner)
    root = dataset.get('data_root') or ''
    for name in [*(dataset.get('data_prefix') or {}).values(), dataset.get('ann_file')]:
        if name and _is_local(f'{root}{name}'):
            yield os.path.join(root, name)


def _is_local(path: str | None) -> TypeGuard[str]:
    # Those with a scheme, such as s3://, are for mmengine's file backends to find.
    return bool(path and '://' not in path)
