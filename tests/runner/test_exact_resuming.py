"""A run resumed from any of its checkpoints ends as the run left alone, to the bit."""

import json
import random
import shutil
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner as MMEngineRunner
from torch import nn

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.runner.random_state import (
    random_state_kept,
    read_random_state,
    set_random_state,
)
from mmconvnext.runner.training_data import Place, SeededSamples, TrainingLoader
from tests.toy_run import ToyData, ToyModel, toy_runner


class NoisyData(ToyData):
    """Adds what each of three generators draws, and counts what is read."""

    read: ClassVar[list[int]] = []

    def __getitem__(self, index: int) -> dict:
        type(self).read.append(index)
        sample = super().__getitem__(index)
        sample['inputs'] += random.random() + np.random.rand() + torch.rand(())
        return sample


class NoisyModel(ToyModel):
    """Drops inputs by torch's state and moves the loss by Python's and numpy's."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)

    def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        outputs = super().forward(self.dropout(inputs), data_samples, mode)
        if mode == 'loss':
            outputs['loss_sum'] = outputs['loss_sum'] * (1 + random.random() + np.random.rand())
        return outputs


def noisy_runner(
    work_dir: Path,
    *,
    workers: int = 0,
    persistent: bool = False,
    accumulated: int = 1,
    scaled: bool = False,
    **options,
):
    torch.manual_seed(1)
    amp = dict(dtype='bfloat16', loss_scale=dict(init_scale=4.0, growth_interval=2))
    model = NoisyModel()
    options = dict(epochs=3) | options if 'iters' not in options else options
    runner = toy_runner(
        work_dir,
        data=NoisyData(10),
        model=model,
        val_interval=options.pop('val_interval', 2),
        checkpoint=dict(max_keep_ckpts=-1),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        scheduler=dict(type='PolyLR', by_epoch=False, end=13),
        optim_wrapper=dict(
            type='AmpOptimWrapper' if scaled else 'OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.01),
            accumulative_counts=accumulated,
            **(amp if scaled else {}),
        ),
        **options,
    )
    loader = runner._train_dataloader
    loader['sampler']['shuffle'] = True
    loader.update(num_workers=workers, persistent_workers=persistent)
    return runner


def content(path: Path) -> dict:
    return {**read_checkpoint(str(path)), 'meta': None, 'message_hub': None}


def losses(work_dir: Path) -> dict[int, float]:
    files = work_dir.glob('*/vis_data/scalars.json')
    lines = [line for file in files for line in file.read_text().splitlines()]
    found = [one for line in lines if 'loss' in (one := json.loads(line))]
    return {one['step']: one['loss'] for one in found}


def same(found: object, wanted: object) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list | tuple):
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
    elif torch.is_tensor(wanted):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    else:
        assert found == wanted


# mmengine steps schedulers while gradients accumulate.
pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
CASES = {
    'iterations': dict(iters=12),
    'iterations with workers': dict(iters=12, workers=2),
    'iterations with persistent workers': dict(iters=12, workers=2, persistent=True),
    'accumulated gradients': dict(iters=12, accumulated=3),
    'epochs': dict(epochs=3),
    'epochs with persistent workers': dict(epochs=3, workers=2, persistent=True),
    'epochs with accumulated gradients': dict(epochs=3, accumulated=2),
    'a loss scaler': dict(iters=12, scaled=True),
}


@pytest.fixture
def scaler_on_cpu(monkeypatch) -> None:
    """Lets the wrapper for mixed precision be built without an accelerator, with a real scaler."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    scaler = partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', scaler)


@pytest.mark.usefixtures('scaler_on_cpu')
@pytest.mark.parametrize('case', CASES)
def test_goes_on_exactly(case: str, tmp_path: Path) -> None:
    options, alone = CASES[case], tmp_path / 'alone'
    noisy_runner(alone, **options).train()
    names = sorted(path.name for path in alone.glob('*_*.pth'))[::4]
    last = 'iter_12.pth' if 'iters' in options else 'epoch_3.pth'
    for name in names:
        cut = tmp_path / name.removesuffix('.pth')
        cut.mkdir()
        shutil.copy(alone / name, cut)
        random.seed(), np.random.seed(), torch.seed()
        noisy_runner(cut, resume=True, **options).train()
        if name != last:
            assert ('loss_scaler' in content(cut / last)['optimizer']) == options.get('scaled', 0)
            same(content(cut / last), content(alone / last))
        after = losses(cut)
        assert after.items() <= losses(alone).items()


def test_the_middle_of_an_epoch(tmp_path: Path) -> None:
    alone, cut = tmp_path / 'alone', tmp_path / 'cut'
    noisy_runner(alone, epochs=3).train()
    runner = noisy_runner(cut, epochs=3)
    hook = next(one for one in runner.hooks if type(one).__name__ == 'CheckpointHook')
    after = type(hook).after_train_iter

    def save_in_the_middle(self, runner, *args, **options) -> None:
        after(self, runner, *args, **options)
        if runner.iter == 7:
            self.save_state(runner, 8)
            raise KeyboardInterrupt

    hook.after_train_iter = save_in_the_middle.__get__(hook)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert (cut / 'iter_8.pth').is_file()
    noisy_runner(cut, epochs=3, resume=True).train()
    same(content(cut / 'epoch_3.pth'), content(alone / 'epoch_3.pth'))


def test_augmentation_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    for workers in (0, 1, 2):
        noisy_runner(tmp_path / str(workers), iters=6, workers=workers).train()
    first = content(tmp_path / '0/iter_6.pth')
    for workers in (1, 2):
        same(content(tmp_path / f'{workers}/iter_6.pth'), first)


def test_a_seed_that_nobody_chose_is_kept(tmp_path: Path) -> None:
    alone, cut = tmp_path / 'alone', tmp_path / 'cut'
    noisy_runner(alone, iters=6, randomness=dict(seed=None)).train()
    cut.mkdir()
    shutil.copy(alone / 'iter_3.pth', cut)
    noisy_runner(cut, iters=6, randomness=dict(seed=None), resume=True).train()
    same(content(cut / 'iter_6.pth'), content(alone / 'iter_6.pth'))


def test_resuming_reads_nothing_that_was_trained_on(tmp_path: Path) -> None:
    noisy_runner(tmp_path, iters=9).train()
    (tmp_path / 'iter_9.pth').unlink()
    NoisyData.read.clear()
    noisy_runner(tmp_path, iters=9, val_interval=100, resume=True).train()
    assert len(NoisyData.read) == 2  # the ninth batch


def test_a_checkpoint_of_before_goes_on_with_a_notice(tmp_path: Path) -> None:
    noisy_runner(tmp_path, iters=3).train()
    file = tmp_path / 'iter_3.pth'
    checkpoint = torch.load(file, weights_only=True)
    del checkpoint['random_states']
    torch.save(checkpoint, file)
    runner = noisy_runner(tmp_path, iters=4, resume=True)
    runner.train()
    log = Path(runner._log_dir, f'{runner.timestamp}.log').read_text()
    assert 'expected the random states of 1 processes, found none' in log


def test_random_states() -> None:
    random.gauss(0, 1), np.random.randn()  # which keep a second value
    state = read_random_state()

    def draw() -> tuple:
        return random.gauss(0, 1), random.random(), *np.random.randn(3), *torch.rand(2).tolist()

    wanted = draw()
    set_random_state(state)
    assert draw() == wanted
    set_random_state(state)
    with random_state_kept():
        draw()
    assert draw() == wanted


@pytest.mark.parametrize('key', ['python', 'numpy', 'torch'])
def test_a_broken_state_is_an_error(key: str) -> None:
    state = read_random_state()
    with random_state_kept(), pytest.raises((KeyError, RuntimeError, TypeError, ValueError)):
        set_random_state(state | {key: state[key][:-5]})


def test_samples_keep_the_state_of_the_process() -> None:
    samples = SeededSamples(NoisyData(4), seed=5)
    before = read_random_state()
    first = samples[Place.of(1, (0, 7))]['inputs']
    same(read_random_state(), before)
    same(samples[Place.of(1, (0, 7))]['inputs'], first)
    for place in (Place.of(1, (1, 7)), Place.of(1, (0, 8))):
        assert not torch.equal(samples[place]['inputs'], first)
    samples.seed = 6
    assert not torch.equal(samples[Place.of(1, (0, 7))]['inputs'], first)


def test_processes_share_the_order_where_their_seeds_differ(monkeypatch) -> None:
    monkeypatch.setattr('mmconvnext.runner.training_data.get_rank', lambda: 1)
    loader = MMEngineRunner.build_dataloader(
        dict(dataset=ToyData(5), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=True))
    )
    for differs, wanted in ((True, 7), (False, 8)):
        TrainingLoader(loader, 8, differs).begin(seed=8, epoch=0, passed=0)
        assert loader.sampler.seed == wanted


class WideAndTall(ToyData):
    """Sizes for the sampler that puts wide or tall images into a batch."""

    def get_data_info(self, index: int) -> dict:
        return dict(width=1 + index * 7 % 3, height=2)


@pytest.mark.parametrize('passed', range(5))
def test_batches_of_wide_or_tall_images_go_on_too(passed: int) -> None:
    def rest(passed: int) -> list[torch.Tensor]:
        loader = MMEngineRunner.build_dataloader(
            dict(
                dataset=WideAndTall(11),
                batch_size=3,
                sampler=dict(type='DefaultSampler', shuffle=True),
                batch_sampler=dict(type='mmdet.AspectRatioBatchSampler'),
            )
        )
        ours = TrainingLoader(loader, seed=4)
        ours.begin(seed=4, epoch=2, passed=passed)
        return [batch['inputs'] for batch in ours]

    whole = rest(0)
    assert len(whole) == 4
    same(rest(passed), whole[passed:])


def test_the_loader_is_mmengine_s_to_whoever_asks(tmp_path: Path) -> None:
    loader = MMEngineRunner.build_dataloader(
        dict(dataset=ToyData(5), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False))
    )
    ours = TrainingLoader(loader, seed=0)
    assert len(ours) == 3
    assert (ours.batch_size, ours.dataset, ours.sampler) == (2, loader.dataset, loader.sampler)
    for mine, theirs in zip(ours, loader, strict=True):
        same(mine['inputs'], theirs['inputs'])
    ours.begin(seed=0, epoch=4, passed=2)
    assert len(list(ours)) == 1
    assert loader.sampler.epoch == 4
