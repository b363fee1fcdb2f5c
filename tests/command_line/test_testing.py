import os
from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.command_line import testing
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


@pytest.fixture
def config() -> Config:
    return Config.fromfile(CONFIGS / 'upernet_convnext_t_ade20k.py')


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)  # what is asked for is made there


@pytest.mark.parametrize('folder', ['/proc/nope', 'a file'])
def test_what_cannot_be_written_is_told_before_the_test(config, folder: str) -> None:
    Path('a file').write_text('mine')
    with pytest.raises(UserError, match=r'--show-dir: .*: expected a folder to write to'):
        testing.set_image_folder(config, folder)
    for out in (folder, f'{folder}/a.pkl'):
        with pytest.raises(UserError, match=r'--out: .*: expected a folder to write to'):
            testing.set_predictions(config, out)
    assert Path('a file').read_text() == 'mine'


def test_tta_needs_a_config_for_it(config) -> None:
    testing.set_tta(config)
    assert config.model.type == 'mmconvnext.WholePictureTTAModel'
    assert config.model.module.type == 'mmconvnext.EncoderDecoder'
    assert config.test_dataloader.dataset.pipeline[1].type == 'TestTimeAug'
    config.pop('tta_model')
    with pytest.raises(UserError, match='--tta: expected tta_model in the config'):
        testing.set_tta(config)


@pytest.mark.parametrize(
    ('hook', 'option'),
    [
        ('mmconvnext.SegmentationPictureHook', 'out_dir'),
        ('mmconvnext.DetectionPictureHook', 'out_dir'),
        ('DetVisualizationHook', 'test_out_dir'),
    ],
)
def test_pictures(config, hook: str, option: str) -> None:
    config.default_hooks.visualization.type = hook
    testing.set_image_folder(config, 'pictures')
    assert config.default_hooks.visualization.draw
    assert config.default_hooks.visualization[option] == os.path.abspath('pictures')
    config.default_hooks.visualization.type = 'OtherHook'
    with pytest.raises(UserError, match='got OtherHook'):
        testing.set_image_folder(config, 'pictures')


def test_predictions(config) -> None:
    testing.set_predictions(config, 'labels')
    assert config.test_evaluator.output_dir == 'labels'
    testing.set_predictions(config, 'all.pkl')
    assert config.test_evaluator[1] == dict(type='DumpResults', out_file_path='all.pkl')
    config.test_evaluator = dict(type='CocoMetric')
    testing.set_predictions(config, 'boxes')
    assert config.test_evaluator.outfile_prefix == 'boxes/predictions'
    config.default_scope = 'mmdet'
    testing.set_predictions(config, 'all.pkl')
    assert config.test_evaluator[1].type == 'mmdet.DumpDetResults'
    config.test_evaluator = dict(type='OtherMetric')
    with pytest.raises(UserError, match='expected IoUMetric or CocoMetric'):
        testing.set_predictions(config, 'labels')


def test_deploy_adds_a_hook() -> None:
    config = Config(dict(custom_hooks=[dict(type='mmconvnext.StrictLoadingHook')]))
    testing.set_deploy(config)
    assert [hook.type for hook in config.custom_hooks] == [
        'mmconvnext.StrictLoadingHook',
        'mmconvnext.DeployHook',
    ]
