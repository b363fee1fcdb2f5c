"""Overriding a config's entries, the folder of the data among them."""

import os
from collections.abc import Mapping

from mmengine.config import Config, ConfigDict

_SPLITS = ('train', 'val', 'test')


def override(config: Config, options: Mapping[str, object]) -> None:
    """Merge dotted options into a config, in place; what depends on the data's folder follows.

    mmengine puts ``data_root`` into each dataset when it reads the file, so that overriding it
    later changes nothing there; here the datasets that had it follow. An evaluator that read its
    dataset's annotations goes on to read its dataset's.
    """
    root = config.get('data_root')
    at_root = [s for s in _SPLITS if root and _dataset(config, s).get('data_root') == root]
    followed = [split for split in _SPLITS if _follows(config, split)]
    config.merge_from_dict(dict(options))
    for split in at_root:
        dataset = _dataset(config, split)
        if dataset.get('data_root') == root:  # not overridden itself
            dataset.data_root = config.data_root
    for split in followed:
        for evaluator in evaluators(config, split):
            if 'ann_file' in evaluator and f'{split}_evaluator.ann_file' not in options:
                evaluator.ann_file = annotation_file(_dataset(config, split))


def evaluators(config: Config, split: str) -> list[ConfigDict]:
    """The metrics of a split; none is an empty list."""
    given = config.get(f'{split}_evaluator') or []
    return given if isinstance(given, list) else [given]


def _dataset(config: Config, split: str) -> ConfigDict:
    return (config.get(f'{split}_dataloader') or {}).get('dataset') or ConfigDict()


def _follows(config: Config, split: str) -> bool:
    annotations = annotation_file(_dataset(config, split))
    files = {os.path.normpath(e.ann_file) for e in evaluators(config, split) if e.get('ann_file')}
    return bool(annotations) and files == {os.path.normpath(annotations)}


def annotation_file(dataset: Mapping) -> str:
    """Path of a dataset's annotation file, or ''."""
    file = dataset.get('ann_file')
    return os.path.join(dataset.get('data_root') or '', file) if file else ''
