"""On real labelled images in ADE20K's layout, where they are found (see ``real_samples``)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from tests.conftest import CONFIGS, ROOT

T_CONFIG = 'configs/upernet_convnext_t_ade20k.py'


def changes(root: Path, crop: int, iterations: int, test_crop: int, pictures: int) -> list[str]:
    """The t config changed in data_root, crop and iterations alone, and how it loads data."""
    stride = test_crop * 2 // 3
    loaders = [
        f'{split}_dataloader.{option}'
        for split in ('train', 'val', 'test')
        for option in (
            f'dataset.data_root={root / "ade20k_sample"}',
            'num_workers=0',
            'persistent_workers=False',
        )
    ]
    return [
        *('--pretrained', 'none', '--cfg-options', *loaders),
        f'train_dataloader.dataset.pipeline.3.crop_size=({crop},{crop})',
        f'model.data_preprocessor.size=({crop},{crop})',
        f'model.test_cfg.crop_size=({test_crop},{test_crop})',
        f'model.test_cfg.stride=({stride},{stride})',
        f'train_cfg.max_iters={iterations}',
        f'train_cfg.val_interval={iterations}',
        f'val_dataloader.dataset.indices={pictures}',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
    ]


def train_killed_and_resumed(work_dir: Path, run_tool, options: list[str], last: int) -> str:
    command = [sys.executable, 'tools/train.py', T_CONFIG, '--work-dir', str(work_dir), *options]
    log = work_dir.with_suffix('.log')
    with (
        log.open('w') as stream,
        subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, env=dict(os.environ)
        ) as process,
    ):
        deadline = time.monotonic() + 300
        while not (work_dir / 'last_checkpoint').exists() and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert not (work_dir / f'iter_{last}.pth').exists(), 'killed before the end'
    result = run_tool('tools/train.py', T_CONFIG, '--work-dir', work_dir, '--resume', *options)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_t_config_trains_is_killed_resumes_and_evaluates(real_samples, run_tool, tmp_path) -> None:
    options = changes(real_samples, crop=64, iterations=6, test_crop=256, pictures=1)
    output = train_killed_and_resumed(tmp_path / 'run', run_tool, options, last=6)
    assert 'Resuming from' in output
    assert 'Iter(train) [1/6]' not in output
    assert 'Iter(train) [6/6]' in output
    assert 'mIoU' in output


@pytest.mark.campaign
def test_t_config_at_half_the_crop_on_all_validation_pictures(
    real_samples, run_tool, tmp_path
) -> None:
    options = changes(real_samples, crop=256, iterations=8, test_crop=512, pictures=8)
    output = train_killed_and_resumed(tmp_path / 'run', run_tool, options, last=8)
    assert 'Iter(val) [8/8]' in output
    result = run_tool(
        *('tools/test.py', T_CONFIG, tmp_path / 'run' / 'iter_8.pth'),
        *('--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'pictures'),
        *options[2:],  # --pretrained is training's
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 8


def overfitting_config(root: Path, work_dir: Path) -> Config:
    """Atto on the twelve training images, which are also those it is tested on."""
    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', reduce_zero_label=True)]
    resize = dict(type='Resize', scale=(896, 224), keep_ratio=True)
    crop = dict(type='RandomCrop', crop_size=(192, 192), cat_max_ratio=1.0)
    pack = dict(type='PackSegInputs')
    dataset = dict(
        type='ADE20KDataset',
        data_root=str(root / 'ade20k_sample'),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
    )
    config.train_dataloader.dataset = dict(**dataset, pipeline=[*load, resize, crop, pack])
    config.train_dataloader.batch_size = 4
    for split in ('val', 'test'):
        config[f'{split}_dataloader'].dataset = dict(
            **dataset, pipeline=[load[0], resize, load[1], pack]
        )
    config.model.data_preprocessor.size = (192, 192)
    config.model.decode_head.num_classes = 150
    config.optim_wrapper.optimizer.lr = 3e-3
    config.optim_wrapper.paramwise_cfg.decay_rate = 1.0
    config.train_cfg.max_iters = config.train_cfg.val_interval = 400
    config.param_scheduler[1].end = 401
    config.work_dir = str(work_dir)
    return config


@pytest.mark.campaign
def test_atto_learns_twelve_real_pictures(real_samples: Path, tmp_path: Path) -> None:
    runner = Runner.from_cfg(overfitting_config(real_samples, tmp_path))
    runner.train()
    mean_iou = runner.message_hub.get_scalar('val/mIoU').current()
    print(f'mIoU on the twelve images themselves: {mean_iou}')
    assert mean_iou >= 45


def test_atto_starts_on_real_pictures(real_samples: Path, tmp_path: Path) -> None:
    config = overfitting_config(real_samples, tmp_path)
    config.train_cfg.max_iters = config.train_cfg.val_interval = 2
    config.val_dataloader.dataset.indices = 2
    runner = Runner.from_cfg(config)
    runner.train()
    assert 'val/mIoU' in runner.message_hub.log_scalars
