import argparse
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmconvnext.command_line import options
from mmconvnext.errors import CheckpointError, UserError
from tests.conftest import CONFIGS

T = CONFIGS / 'upernet_convnext_t_ade20k.py'


@pytest.fixture
def config() -> Config:
    return Config.fromfile(T)


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_shared_arguments(parser)
    return parser.parse_args([str(a) for a in arguments])


@pytest.fixture(autouse=True)
def local_rank(monkeypatch) -> None:
    monkeypatch.setenv('LOCAL_RANK', '0')


def test_work_dir_is_the_config_s_name() -> None:
    assert options.load_config(parse(T)).work_dir == 'work_dirs/upernet_convnext_t_ade20k'
    assert options.load_config(parse(T, '--work-dir', 'a')).work_dir == 'a'


def test_both_spellings_of_local_rank() -> None:
    assert parse(T, '--local_rank', '3').local_rank == 3
    assert parse(T, '--local-rank=3').local_rank == 3


def test_a_missing_or_broken_config_gets_an_answer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no such config file; see configs/'):
        options.load_config(parse(tmp_path / 'none.py'))
    (tmp_path / 'a.py').write_text('model = dict(\n')
    with pytest.raises(UserError, match='not a usable config'):
        options.load_config(parse(tmp_path / 'a.py'))
    (tmp_path / 'b.py').write_text('model = undefined\n')
    with pytest.raises(UserError, match=r'not a usable config \(NameError'):
        options.load_config(parse(tmp_path / 'b.py'))
    (tmp_path / 'c.py').write_text('a = 1\n')
    with pytest.raises(UserError, match='expected a config with a model'):
        options.load_config(parse(tmp_path / 'c.py'))


def test_the_config_is_checked_unless_an_option_says_no() -> None:
    mistake = ('--cfg-options', 'train_cfg.maxiters=5')
    with pytest.raises(UserError, match=r'train_cfg\.maxiters: .*; did you mean max_iters\?'):
        options.load_config(parse(T, *mistake))
    assert options.load_config(parse(T, '--no-config-check', *mistake)).train_cfg.maxiters == 5


@pytest.mark.parametrize(
    ('option', 'meant'),
    [
        ('max_iters=1', 'train_cfg.max_iters'),
        ('train_pipeline.2.prob=0.1', 'train_dataloader.dataset.pipeline.2.prob'),
    ],
)
def test_an_option_on_a_variable_is_an_error(tmp_path: Path, option: str, meant: str) -> None:
    file = tmp_path / 'a.py'
    file.write_text(
        'max_iters = 5\ntrain_pipeline = [dict(type="A")] * 3\nmodel = dict(type="B")\n'
        'train_cfg = dict(max_iters=max_iters)\n'
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    key = option.split('=')[0]
    with pytest.raises(UserError) as caught:
        options.load_config(parse(file, '--cfg-options', option))
    assert str(caught.value) == (
        f'--cfg-options {key}: expected an entry that a run reads, got a variable of the file, '
        f'which was already used; did you mean {meant}?'
    )
    allowed = ('--no-config-check', '--cfg-options', option)
    assert options.load_config(parse(file, *allowed)).model.type == 'B'


@pytest.mark.parametrize('text', ['-1', 'a', str(2**32)])
def test_a_seed_that_numpy_does_not_take_is_an_error(text: str) -> None:
    assert options.seed(str(2**32 - 1)) == 2**32 - 1
    with pytest.raises(argparse.ArgumentTypeError, match=rf'below 2\*\*32, got {text}'):
        options.seed(text)


@pytest.mark.parametrize(
    ('before', 'amp', 'after'),
    [
        ('AmpOptimWrapper', None, 'AmpOptimWrapper'),
        ('AmpOptimWrapper', False, 'OptimWrapper'),
        ('OptimWrapper', True, 'AmpOptimWrapper'),
    ],
)
def test_amp(config, before: str, amp: bool | None, after: str) -> None:
    config.optim_wrapper.type = before
    options.set_precision(config, amp)
    assert config.optim_wrapper.type == after


def test_amp_with_another_wrapper_raises(config) -> None:
    config.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(UserError, match='got ApexOptimWrapper'):
        options.set_precision(config, True)


def test_seed_and_learning_rate_scaling(config) -> None:
    options.set_seed(config, 7)
    options.set_learning_rate_scaling(config)
    assert config.randomness.seed == 7
    assert config.auto_scale_lr == dict(enable=True, base_batch_size=16)
    config.pop('auto_scale_lr')
    with pytest.raises(UserError, match='base_batch_size'):
        options.set_learning_rate_scaling(config)


def test_pretrained(config, tmp_path: Path) -> None:
    torch.save({'model': {}}, tmp_path / 'a.pth')
    assert options.set_pretrained(config, str(tmp_path / 'a.pth')) == []
    assert config.model.backbone.init_cfg.checkpoint == str(tmp_path / 'a.pth')
    (notice,) = options.set_pretrained(config, 'none')
    assert config.model.backbone.init_cfg is None
    assert notice.startswith('NO PRETRAINED WEIGHTS')
    with pytest.raises(CheckpointError, match='no such checkpoint file'):
        options.set_pretrained(config, str(tmp_path / 'none.pth'))


def test_pretrained_finds_the_backbone_of_a_wrapped_model(config) -> None:
    config.model = dict(type='Wrapper', detector=config.model)
    options.set_pretrained(config, 'none')
    assert config.model.detector.backbone.init_cfg is None
    config.model = dict(type='Headless')
    with pytest.raises(UserError, match='expected a model with a backbone'):
        options.set_pretrained(config, 'none')


@pytest.mark.parametrize('init_cfg', [dict(type='TruncNormal', layer='Conv2d'), []])
def test_other_initialisations_need_no_file(config, init_cfg) -> None:
    config.model.backbone.init_cfg = init_cfg
    assert options.set_pretrained(config, None) == []


def test_a_list_of_initialisations_is_looked_through(config, tmp_path: Path) -> None:
    missing = dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth'))
    config.model.backbone.init_cfg = [dict(type='Constant', layer='Conv2d', val=0.0), missing]
    with pytest.raises(CheckpointError, match='no such checkpoint file'):
        options.set_pretrained(config, None)


def test_a_classifier_s_own_file_is_checked_and_gives_way(tmp_path: Path) -> None:
    config = Config.fromfile(CONFIGS / 'convnext_t_in1k.py')
    missing = dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth'))
    config.model.init_cfg = missing
    with pytest.raises(CheckpointError, match='no such checkpoint file'):
        options.set_pretrained(config, None)
    options.set_pretrained(config, 'none')
    assert 'init_cfg' not in config.model, 'it would hide what --pretrained says'


def test_safe_loading_is_forced(monkeypatch) -> None:
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(UserError, match='TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set'):
        options.force_safe_loading()
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    options.force_safe_loading()
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
