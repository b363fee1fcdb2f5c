"""tools/show_lr.py in a process of its own, as a person runs it."""

import json
from pathlib import Path

import cv2

CONFIG = 'configs/upernet_convnext_t_ade20k.py'


def test_prints_a_table_and_writes_a_picture(run_tool, tmp_path: Path) -> None:
    result = run_tool('tools/show_lr.py', CONFIG, '--out', tmp_path / 'lr.png')
    assert result.returncode == 0, result.stderr
    assert 'auxiliary_head' in result.stdout
    assert '0.9^7 = 0.478' in result.stdout.replace('\n', ' ')
    assert '159,999' in result.stdout
    assert f'written: {tmp_path / "lr.png"}' in result.stdout
    assert cv2.imread(str(tmp_path / 'lr.png')) is not None


def test_json_is_alone_on_stdout(run_tool, tmp_path: Path) -> None:
    # mmdet's constructor logs each parameter.
    options = ['optim_wrapper.constructor=mmdet.LearningRateDecayOptimizerConstructor',
               'optim_wrapper.paramwise_cfg.num_layers=6']  # fmt: skip
    result = run_tool('tools/show_lr.py', CONFIG, '--json', '--auto-scale-lr', '--processes', 4,
                      '--cfg-options', *options)  # fmt: skip
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content['base_lr'] == 0.5e-4  # 4 × 2 images for 16
    assert content['groups'][0]['layer'] == 0
    assert content['schedule']['iterations'][-1] == 159999
    assert not (tmp_path / 'work_dirs').exists()


def test_what_is_wrong_is_one_line(run_tool) -> None:
    result = run_tool('tools/show_lr.py', CONFIG, '--iters-per-epoch', 0)
    assert result.returncode == 1
    assert result.stderr == 'error: --iters-per-epoch: expected 1 or more, got 0\n'
