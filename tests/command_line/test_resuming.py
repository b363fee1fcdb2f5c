"""Where a run starts."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmconvnext.checkpoints.of_a_run import OVERWRITTEN
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.command_line.resuming import set_checkpoint, set_resume
from mmconvnext.errors import CheckpointError, UserError
from tests.conftest import CONFIGS


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config.fromfile(CONFIGS / 'upernet_convnext_t_ade20k.py')
    config.work_dir = str(tmp_path)
    return config


def write(path: Path, iteration: int) -> str:
    path.parent.mkdir(exist_ok=True)
    state = {'meta': {'iter': iteration}, 'optimizer': {}, 'message_hub': {}}
    torch.save({'state_dict': {'a': torch.ones(1)}, **state}, path)
    return str(path)


def test_weights_to_start_from_are_checked_too(config, tmp_path: Path) -> None:
    (tmp_path / 'a.pth').write_bytes(b'<html>')
    config.merge_from_dict({'load_from': str(tmp_path / 'a.pth'), 'work_dir': str(tmp_path)})
    with pytest.raises(CheckpointError, match='not a readable checkpoint'):
        set_resume(config, None)


def test_resume(config, tmp_path: Path) -> None:
    config.work_dir = str(tmp_path)
    assert set_resume(config, None) == []
    (notice,) = set_resume(config, 'auto')
    assert 'Nothing to resume' in notice
    assert not config.resume
    weights = {'state_dict': {'a': torch.ones(1)}}
    torch.save(weights, tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='found no message_hub, meta, optimizer; '):
        set_resume(config, str(tmp_path / 'weights.pth'))
    assert not config.resume
    config.merge_from_dict({'resume': True, 'load_from': str(tmp_path / 'weights.pth')})
    with pytest.raises(UserError, match='expected a training checkpoint'):
        set_resume(config, None)
    config.load_from = None
    state = {'meta': {'iter': 3}, 'optimizer': {}, 'message_hub': {}}
    torch.save({**weights, **state}, tmp_path / 'iter_3.pth')
    assert 'iter_3.pth' in set_resume(config, 'auto')[0]
    assert config.resume
    assert config.load_from == str(tmp_path / 'iter_3.pth')
    assert 'init_cfg' not in config.model
    assert config.model.backbone.init_cfg is None, 'nothing is downloaded to be overwritten'
    assert config.custom_hooks[-1].type == 'mmconvnext.StrictLoadingHook'


@pytest.mark.parametrize('content', [3, [{'meta': {}}], torch.ones(2)])
def test_a_file_without_a_dict_is_no_checkpoint_of_training(config, tmp_path, content) -> None:
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='expected a training checkpoint'):
        set_resume(config, str(tmp_path / 'other.pth'))


def test_another_run_s_checkpoints_are_not_overwritten_unasked(config, tmp_path: Path) -> None:
    write(tmp_path / 'iter_3.pth', 3)
    with pytest.raises(UserError, match=r'found iter_3.pth; resume from it with --resume, choose'):
        set_resume(config, None)
    (notice,) = set_resume(config, None, overwrite=True)
    assert 'moved to' in notice
    assert (tmp_path / OVERWRITTEN / 'iter_3.pth').is_file()
    assert not config.resume


def test_going_on_from_earlier_asks_about_the_later_ones(config, tmp_path: Path) -> None:
    first = write(tmp_path / 'iter_3.pth', 3)
    write(tmp_path / 'iter_6.pth', 6)
    with pytest.raises(UserError, match=r'found iter_6.pth; resume from it with --resume alone'):
        set_resume(config, first)
    set_resume(config, first, overwrite=True)
    assert config.load_from == first
    assert {p.name for p in (tmp_path / OVERWRITTEN).iterdir()} == {'iter_6.pth'}


def test_another_folder_s_checkpoint_is_taken_into_an_empty_work_dir(config, tmp_path) -> None:
    config.work_dir = str(tmp_path / 'empty')
    file = write(tmp_path / 'other' / 'iter_9.pth', 9)
    assert set_resume(config, file) == [f'Resuming from {file}']


def test_only_broken_checkpoints_are_not_overwritten(config, tmp_path: Path) -> None:
    (tmp_path / 'iter_3.pth').write_bytes(b'half')
    with pytest.raises(
        UserError, match='expected an undamaged checkpoint to resume from, found none'
    ):
        set_resume(config, 'auto')


def test_resuming_and_overwriting_at_once_makes_no_sense(config) -> None:
    with pytest.raises(UserError, match='--overwrite: expected no --resume, or --resume FILE'):
        set_resume(config, 'auto', overwrite=True)


def test_the_best_checkpoint_alone_is_not_overwritten_either(config, tmp_path: Path) -> None:
    write(tmp_path / 'best_mIoU_iter_3.pth', 3)
    with pytest.raises(UserError, match=r'found best_mIoU_iter_3.pth'):
        set_resume(config, None)


def test_a_store_elsewhere_is_not_looked_through(config) -> None:
    config.default_hooks.checkpoint.out_dir = 's3://bucket/runs'
    with pytest.raises(UserError, match=r's3://bucket/runs: expected a folder of this machine'):
        set_resume(config, 'auto')


def test_a_checkpoint_to_test_is_parsed_once(config, tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path / 'a.pth', 3)
    set_checkpoint(config, path)
    monkeypatch.setattr(torch, 'load', None)
    assert read_checkpoint(config.load_from)['meta'] == {'iter': 3}
