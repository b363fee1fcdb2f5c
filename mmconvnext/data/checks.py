"""Whether the data a config names are there."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmconvnext.data.class_folders import require_a_batch, require_classes
from mmconvnext.errors import UserError


def require_data(config: Config, *splits: str) -> None:
    """Check that the folders and files of the given splits exist, before anything is built.

    Of data with one folder a class, also that every split and the model have the same classes.

    Args:
        config: A config; its ``data_hint``, where it has one, tells how to get the data.
        splits: Of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        UserError: the first one missing or of other classes, in one line.
    """
    for split in splits:
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset')
        paths = [*_paths(dataset), *_evaluated(config, split)] if dataset else []
        for path in paths:
            if not Path(path).exists():
                hint = f'{config.data_hint}, ' if config.get('data_hint') else ''
                raise UserError(
                    f'data: {path} does not exist ({split}_dataloader of the config); {hint}'
                    f'or name another folder with --cfg-options {_override(config, splits)}'
                )
    require_classes(config, *splits)
    if 'train' in splits:
        require_a_batch(config)


def _override(config: Config, splits: tuple[str, ...]) -> str:
    if config.get('data_root'):
        return 'data_root=DIR'
    return ' '.join(f'{split}_dataloader.dataset.data_root=DIR' for split in splits)


def _evaluated(config: Config, split: str) -> Iterator[str]:
    """Annotation files that the evaluators of a split read."""
    evaluators = config.get(f'{split}_evaluator') or []
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if evaluator.get('ann_file') and '://' not in evaluator.ann_file:
            yield evaluator.ann_file


def _paths(dataset: dict) -> Iterator[str]:
    """Local folders and annotation files of a dataset, wrappers such as RepeatDataset in."""
    for inner in [dataset.get('dataset'), *(dataset.get('datasets') or [])]:
        if inner:
            yield from _paths(inner)
    root = dataset.get('data_root') or ''
    for name in [*(dataset.get('data_prefix') or {}).values(), dataset.get('ann_file')]:
        # Those with a scheme, such as s3://, are for mmengine's file backends to find.
        if name and '://' not in f'{root}{name}':
            yield os.path.join(root, name)
