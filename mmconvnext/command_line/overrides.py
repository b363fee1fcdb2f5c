"""Override entries of a config, including the folder of the data."""

import os
from collections.abc import Mapping

from mmengine.config import Config, ConfigDict

from mmconvnext.data.checks import evaluators

_SPLITS = ('train', 'val', 'test')


def override(config: Config, options: Mapping[str, object]) -> None:
    """Merge dotted options into a config in place, and update entries that use ``data_root``.

    mmengine copies ``data_root`` into each dataset when it reads the file, so that overriding it
    later has no effect. Here the datasets with the old value get the new one. An evaluator that
    used its dataset's annotation file still uses it.
    """
    root = config.get('data_root')
    at_root = [s for s in _SPLITS if root and _dataset(config, s).get('data_root') == root]
    followed = [split for split in _SPLITS if _follows(config, split)]
    config.merge_from_dict(dict(options))
    for split in at_root:
        dataset = _dataset(config, split)
        if dataset.get('data_root') == root:  # not overridden separately
            dataset.data_root = config.data_root
    for split in followed:
        for evaluator in evaluators(config, split):
            if 'ann_file' in evaluator and f'{split}_evaluator.ann_file' not in options:
                evaluator.ann_file = annotation_file(_dataset(config, split))


def _dataset(config: Config, split: str) -> ConfigDict:
    return (config.get(f'{split}_dataloader') or {}).get('dataset') or ConfigDict()


def _follows(config: Config, split: str) -> bool:
    annotations = annotation_file(_dataset(config, split))
    files = {os.path.normpath(e.ann_file) for e in evaluators(config, split) if e.get('ann_file')}
    return bool(annotations) and files == {os.path.normpath(annotations)}


def annotation_file(dataset: Mapping) -> str:
    """Return the path of a dataset's annotation file, or ''."""
    file = dataset.get('ann_file')
    return os.path.join(dataset.get('data_root') or '', file) if file else ''
