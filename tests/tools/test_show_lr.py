"""tools/show_lr.py in a process of its own, as a person runs it."""

import json
from pathlib import Path

import cv2
import pytest

CONFIG = 'configs/upernet_convnext_t_ade20k.py'


def test_prints_a_table_and_writes_a_picture(run_tool, tmp_path: Path) -> None:
    result = run_tool('tools/show_lr.py', CONFIG, '--out', tmp_path / 'lr.png',
                      '--auto-scale-lr', '--gpus', 4)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert 'auxiliary_head' in result.stdout
    assert '0.9^7 = 0.478' in result.stdout.replace('\n', ' ')
    assert '159,999' in result.stdout
    assert 'learning rates × 0.5 for the batch size' in result.stdout
    assert f'written: {tmp_path / "lr.png"}' in result.stdout
    assert cv2.imread(str(tmp_path / 'lr.png')) is not None


def test_json_is_alone_on_stdout(run_tool, tmp_path: Path) -> None:
    # mmdet's constructor logs each parameter.
    options = ['optim_wrapper.constructor=mmdet.LearningRateDecayOptimizerConstructor',
               'optim_wrapper.paramwise_cfg.num_layers=6']  # fmt: skip
    result = run_tool('tools/show_lr.py', CONFIG, '--json', '--gpus', 4, '--batch', 3,
                      '--cfg-options', *options)  # fmt: skip
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content['base_lr'] == pytest.approx(0.75e-4)  # 4 × 3 images for 16
    assert content['groups'][0]['layer'] == 0
    assert content['schedule']['iterations'][-1] == 213333
    assert content['batch']['effective'] == 12
    assert content['batch']['command'].startswith(
        f'tools/dist_train.sh {CONFIG} 4 --auto-scale-lr --cfg-options {" ".join(options)} '
        'train_dataloader.batch_size=3 train_cfg.max_iters=213334 '
    )
    assert not (tmp_path / 'work_dirs').exists()


def test_prints_the_command_for_these_gpus(run_tool, tmp_path: Path) -> None:
    samples = 'configs/upernet_convnext_atto_samples.py'
    options = ['--gpus', 2, '--batch', 2, '--cfg-options', 'optim_wrapper.clip_grad.max_norm=1']
    result = run_tool('tools/show_lr.py', samples, '--out', tmp_path / 'lr.png', *options)
    assert result.returncode == 0, result.stderr
    *_, sentence, _, command = result.stdout.splitlines()
    assert sentence == (
        '2 GPUs × 2 images × 2 accumulated = 8 images a step; published: 8. Learning rate '
        '× 1 = 0.002; 1,600 iterations.'
    )
    assert command == (
        f'tools/dist_train.sh {samples} 2 --cfg-options optim_wrapper.clip_grad.max_norm=1 '
        'train_dataloader.batch_size=2 optim_wrapper.accumulative_counts=2 '
        'train_cfg.max_iters=1600 train_cfg.val_interval=800 '
        'default_hooks.checkpoint.interval=800 param_scheduler.0.end=81 param_scheduler.1.end=1601'
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--batch', 0], '--batch: expected 1 or more, got 0'),
        (
            ['--batch', 2, '--auto-scale-lr'],
            '--auto-scale-lr: expected without --batch, which adds it where it is needed',
        ),
    ],
)
def test_what_is_wrong_is_one_line(run_tool, options: list, message: str) -> None:
    result = run_tool('tools/show_lr.py', CONFIG, *options)
    assert result.returncode == 1
    assert result.stderr == f'error: {message}\n'
