"""Check that a config's data exist."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from mmengine.config import Config, ConfigDict

from mmconvnext.data.class_folders import require_a_batch, require_classes
from mmconvnext.errors import UserError


def require_data(config: Config, *splits: str) -> None:
    """Check that the folders and files of the given splits exist.

    For data with one folder per class, also check that every split and the model have the same
    classes. The config's optional ``data_hint`` tells the user how to get the data.

    Raises:
        UserError: a folder or file is missing, or has other classes; the message names the first.
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
                    f'or set another folder with --cfg-options {override}'
                )
    require_classes(config, *splits)
    if 'train' in splits:
        require_a_batch(config)


def evaluators(config: Config, split: str) -> list[ConfigDict]:
    """Return the evaluators of a split; a config may have one, several or none."""
    given = config.get(f'{split}_evaluator') or []
    return given if isinstance(given, list) else [given]


def _paths(dataset: Mapping) -> Iterator[str]:
    """Yield local folders and annotation files of a dataset, also inside wrappers."""
    for inner in filter(None, [dataset.get('dataset'), *(dataset.get('datasets') or [])]):
        yield from _paths(inner)
    root = dataset.get('data_root') or ''
    for name in [*(dataset.get('data_prefix') or {}).values(), dataset.get('ann_file')]:
        if name and _is_local(f'{root}{name}'):
            yield os.path.join(root, name)


def _is_local(path: str | None) -> TypeGuard[str]:
    # mmengine's file backends handle paths with a scheme, such as s3://.
    return bool(path and '://' not in path)
