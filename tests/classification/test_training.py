"""The whole way of a classifier through the tools, on generated images."""

import json
import re
import time
from pathlib import Path

import pytest
import torch

from mmconvnext.data.classification_samples import write_classification_samples

CONFIG = 'configs/roadmap_resnet50_samples.py'
STEPS = ('resnet50', 'inverted_bottleneck', 'separate_downsampling')


@pytest.fixture(scope='module')
def few_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'samples'
    return write_classification_samples(root, training=10, validation=7, size=32)


@pytest.fixture(scope='module')
def small_options(few_samples: Path) -> list[str]:
    """An epoch is one iteration, over the same images each time."""
    return [
        f'data_root={few_samples}',
        'train_dataloader.batch_size=10',
        'param_scheduler.0.end=2',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=5',
        'default_hooks.checkpoint.save_optimizer=False',
        'train_cfg.max_epochs=5',
        'train_cfg.val_interval=5',
    ]


def scalars(work_dir: Path) -> list[dict]:
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize('step', STEPS)
def test_a_step_learns_and_tests_as_it_validated(
    step: str, small_options: list[str], tmp_path: Path, run_tool
) -> None:
    options = [f'model.backbone.step={step}', *small_options]
    arguments = ('--work-dir', tmp_path, '--cfg-options', *options)
    trained = run_tool('tools/train.py', CONFIG, *arguments)
    assert trained.returncode == 0, trained.stderr
    lines = scalars(tmp_path)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == 5
    assert min(losses[2:]) < losses[0]
    validated = next(line['top1'] for line in lines if 'top1' in line)
    checkpoint = tmp_path / 'epoch_5.pth'
    if step == STEPS[-1]:
        tested = run_tool('tools/test.py', CONFIG, checkpoint, *arguments)
        assert tested.returncode == 0, tested.stderr
        assert f'top1 {validated:.4g}, top5 100' in tested.stdout.splitlines()[-1]
    checkpoint.unlink()  # of a hundred megabytes


@pytest.fixture(scope='module')
def small_config(few_samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ConvNeXt of a few thousand parameters, averaged over training."""
    file = tmp_path_factory.mktemp('configs') / 'small.py'
    configs = Path(__file__).parents[2] / 'configs'
    file.write_text(
        f"""
_base_ = '{configs / 'roadmap_resnet50_samples.py'}'
data_root = {str(few_samples)!r}
arch = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))
backbone = dict(_delete_=True, type='mmconvnext.ConvNeXt', arch=arch, out_indices=(3,))
model = dict(backbone=backbone)
train_dataloader = dict(dataset=dict(data_root=data_root), batch_size=5)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
param_scheduler = []
optim_wrapper = dict(optimizer=dict(lr=1e-2))
train_cfg = dict(max_epochs=2, val_interval=2)
custom_hooks = [dict(type='EMAHook', momentum=0.5)]
"""
    )
    return file


@pytest.fixture(scope='module')
def averaged(small_config: Path, tmp_path_factory: pytest.TempPathFactory, run_tool) -> Path:
    """Checkpoint of a run with an average of the weights."""
    work_dir = tmp_path_factory.mktemp('run')
    trained = run_tool('tools/train.py', small_config, '--work-dir', work_dir)
    assert trained.returncode == 0, trained.stderr
    return work_dir / 'epoch_2.pth'


def test_the_average_is_what_is_evaluated(
    averaged: Path, small_config: Path, tmp_path: Path, run_tool
) -> None:
    (validated,) = (line['top1'] for line in scalars(averaged.parent) if 'top1' in line)
    content = torch.load(averaged, weights_only=True)
    state, other = content['state_dict'], content['ema_state_dict']
    assert not torch.equal(state['head.weight'], other['module.head.weight'])
    arguments = ('--work-dir', tmp_path, '--out', tmp_path / 'a.pkl')
    tested = run_tool('tools/test.py', small_config, averaged, *arguments)
    assert tested.returncode == 0, tested.stderr
    assert f'top1 {validated:.4g}' in tested.stdout
    assert (tmp_path / 'a.pkl').is_file()


def test_fine_tuning_and_going_on(
    averaged: Path, small_config: Path, tmp_path: Path, run_tool
) -> None:
    """Of another number of classes with --pretrained; then on from where that ended."""
    other = write_classification_samples(tmp_path / 'other', training=10, validation=5, size=32)
    for split in ('train', 'val'):
        for picture in (other / split / 'ring').iterdir():
            picture.unlink()
        (other / split / 'ring').rmdir()
    options = (
        *('--work-dir', tmp_path, '--cfg-options', 'model.num_classes=4'),
        *(f'{split}_dataloader.dataset.data_root={other}' for split in ('train', 'val')),
    )
    tuned = run_tool('tools/train.py', small_config, '--pretrained', averaged, *options)
    assert tuned.returncode == 0, tuned.stderr
    assert re.search(r'Loaded \d+ tensors .* left aside: .*head', tuned.stdout + tuned.stderr)
    resumed = run_tool(
        'tools/train.py', small_config, '--resume', *options, 'train_cfg.max_epochs=3'
    )
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / 'epoch_3.pth').is_file()
    # The first one has five classes.
    tested = run_tool('tools/test.py', small_config, tmp_path / 'epoch_3.pth')
    assert tested.returncode == 1
    assert re.fullmatch(
        r'error: .*does not fit the model: 2 of another shape: .* it has 4 classes, .*\n',
        tested.stderr.splitlines(keepends=True)[-1],
    )


@pytest.mark.campaign
@pytest.mark.parametrize('step', STEPS)
def test_a_step_learns_in_four_minutes(step: str, tmp_path: Path, run_tool) -> None:
    """From scratch to nine held-out images in ten, on two quiet cores."""
    root = write_classification_samples(tmp_path / 'samples')
    options = [f'data_root={root}', f'model.backbone.step={step}']
    start = time.monotonic()
    trained = run_tool(
        'tools/train.py', CONFIG, '--work-dir', tmp_path / 'run', '--cfg-options', *options
    )
    minutes = (time.monotonic() - start) / 60
    assert trained.returncode == 0, trained.stderr
    top1 = [line['top1'] for line in scalars(tmp_path / 'run') if 'top1' in line][-1]
    print(f'{step}: top-1 {top1}, {minutes:.1f} min')
    for checkpoint in (tmp_path / 'run').glob('*.pth'):
        checkpoint.unlink()
    assert top1 >= 90
    assert minutes <= 4
