from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.data.checks import require_data
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


def test_names_what_is_missing_where_it_belongs_and_the_remedy() -> None:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_t_ade20k.py')
    config.train_dataloader.dataset.data_root = '/nowhere'
    with pytest.raises(UserError) as caught:
        require_data(config, 'train', 'val')
    message = str(caught.value)
    assert '/nowhere/images/training does not exist (train_dataloader' in message
    assert 'prepare_ade20k.py' in message
    assert message.endswith('--cfg-options data_root=DIR')
    assert '\n' not in message
    config.data_root = None
    with pytest.raises(
        UserError, match=r'--cfg-options train_dataloader\.dataset\.data_root=DIR val'
    ):
        require_data(config, 'train', 'val')


def test_passes_where_everything_is_there(samples: Path) -> None:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].dataset.data_root = str(samples)
    require_data(config, 'train', 'val', 'test')


def test_looks_into_wrappers_and_at_annotation_files(tmp_path: Path) -> None:
    inner = dict(data_root=str(tmp_path), ann_file='annotations/train.json', data_prefix=dict())
    for dataset in (
        dict(type='RepeatDataset', dataset=inner),
        dict(type='ConcatDataset', datasets=[inner]),
    ):
        config = Config(dict(train_dataloader=dict(dataset=dataset)))
        with pytest.raises(UserError, match=r'annotations/train\.json does not exist'):
            require_data(config, 'train')


def test_looks_for_what_the_evaluator_reads(tmp_path: Path) -> None:
    config = Config(dict(val_dataloader=dict(dataset=dict(data_root=str(tmp_path)))))
    config.val_evaluator = [dict(type='CocoMetric', ann_file=f'{tmp_path}/val.json')]
    with pytest.raises(UserError, match=r'/val\.json does not exist'):
        require_data(config, 'val')


def test_a_config_without_a_split_has_nothing_to_check() -> None:
    require_data(Config(dict(val_dataloader=None)), 'train', 'val')


def test_remote_data_are_for_the_file_backend_to_find() -> None:
    dataset = dict(data_root='s3://bucket/ade', data_prefix=dict(img_path='images'))
    require_data(Config(dict(train_dataloader=dict(dataset=dataset))), 'train')
    dataset = dict(data_root='', data_prefix=None, ann_file='')
    require_data(Config(dict(train_dataloader=dict(dataset=dataset))), 'train')
