"""Whether the data a config names are there."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmconvnext.errors import UserError


def require_data(config: Config, *splits: str) -> None:
    """Check that the folders and files of the given splits exist, before anything is built.

    Args:
        config: A config; its ``data_hint``, where it has one, tells how to get the data.
        splits: Of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        UserError: the first one missing, in one line.
    """
    for split in splits:
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset')
        for path in _paths(dataset) if dataset else ():
            if '://' not in str(path) and not path.exists():
                hint = f'{config.data_hint}, ' if config.get('data_hint') else ''
                raise UserError(
                    f'data: {path} does not exist ({split}_dataloader of the config); {hint}'
                    f'or name another folder with --cfg-options '
                    f'{split}_dataloader.dataset.data_root=DIR'
                )


def _paths(dataset: dict) -> Iterator[Path]:
    """Every folder and annotation file of a dataset's config, wrappers such as RepeatDataset in."""
    for inner in [dataset.get('dataset'), *dataset.get('datasets', [])]:
        if inner:
            yield from _paths(inner)
    root = Path(dataset.get('data_root') or '')
    for name in [*dataset.get('data_prefix', {}).values(), dataset.get('ann_file')]:
        if name:
            yield root / name
