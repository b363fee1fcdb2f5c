"""On resuming, the config's schedule is used."""

from pathlib import Path

import pytest
import torch

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import CheckpointError
from tests.toy_run import ToyModel, toy_runner

WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4)


def decay(end: int) -> list[dict]:
    poly = dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=False, begin=0, end=end)
    return [WARM_UP, poly]


def rates(runner) -> list[float]:
    history, _ = runner.message_hub.get_scalar('train/lr').data
    return history.tolist()


def logged(runner) -> str:
    return Path(runner._log_dir, f'{runner.timestamp}.log').read_text()


def train(folder: Path, scheduler: object, iters: int, **options: object):
    torch.manual_seed(1)
    runner = toy_runner(folder, iters=iters, scheduler=scheduler, model=ToyModel(), **options)
    runner.train()
    return runner


def test_the_same_schedule_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = train(tmp_path / 'whole', decay(9), 8)
    train(tmp_path / 'parts', decay(9), 5)
    parts = train(tmp_path / 'parts', decay(9), 8, resume=True)
    assert rates(parts) == rates(whole)
    assert 'Resuming: ' not in logged(parts)
    for key, value in read_checkpoint(str(tmp_path / 'whole' / 'iter_8.pth'))['state_dict'].items():
        other = read_checkpoint(str(tmp_path / 'parts' / 'iter_8.pth'))['state_dict'][key]
        assert torch.equal(value, other), key


@pytest.mark.parametrize(
    ('before', 'after', 'told'),
    [
        (decay(5), decay(9), 'param_scheduler[1] (PolyLR): end 9, 5 in the checkpoint'),
        (
            dict(type='MultiStepLR', milestones=[2, 4], by_epoch=False),
            dict(type='MultiStepLR', milestones=[3, 6], by_epoch=False),
            'milestones',
        ),
        (decay(9)[:1], decay(9), '2 schedulers in the config, 1 in the checkpoint'),
        (decay(9), dict(type='ConstantLR', by_epoch=False, end=3), '1 schedulers in the config'),
        (
            [WARM_UP, dict(type='ExponentialLR', gamma=0.5, by_epoch=False)],
            decay(9),
            'another type',
        ),
    ],
)
def test_another_schedule_holds_at_the_resumed_step(tmp_path, before, after, told: str) -> None:
    expected = rates(train(tmp_path / 'whole', after, 8))
    train(tmp_path / 'parts', before, 4)
    parts = train(tmp_path / 'parts', after, 8, resume=True)
    assert rates(parts)[4:] == pytest.approx(expected[4:], rel=1e-12)
    assert told in logged(parts)
    assert 'the learning rate continues at' in logged(parts)


def test_other_options_of_the_optimizer_hold(tmp_path: Path) -> None:
    train(tmp_path, None, 2)
    sgd = dict(type='SGD', lr=0.5, weight_decay=0.3)
    wrapper = dict(type='OptimWrapper', optimizer=sgd)
    runner = train(tmp_path, None, 4, resume=True, optim_wrapper=wrapper)
    (group,) = runner.optim_wrapper.param_groups
    assert (group['lr'], group['weight_decay']) == (0.5, 0.3)
    assert 'optimizer: weight_decay 0.3, 0 in the checkpoint: the config is used' in logged(runner)


@pytest.mark.parametrize('by_epoch', [False, True])
def test_schedules_by_epoch(tmp_path: Path, by_epoch: bool) -> None:
    def schedule(end: int) -> dict:
        scale = 1 if by_epoch else 4
        return dict(type='CosineAnnealingLR', T_max=end * scale, by_epoch=by_epoch, end=end * scale)

    def run(folder: Path, end: int, epochs: int, **options: object):
        runner = toy_runner(folder, epochs=epochs, scheduler=schedule(end), **options)
        runner.train()
        return rates(runner)

    expected = run(tmp_path / 'whole', 6, 4)
    run(tmp_path / 'parts', 3, 2)
    assert run(tmp_path / 'parts', 6, 4, resume=True)[8:] == pytest.approx(expected[8:], rel=1e-12)


def test_schedulers_in_a_file_are_data(tmp_path: Path) -> None:
    """Attributes that no scheduler has, and numbers that cannot be, are not taken over."""
    train(tmp_path, decay(9), 4)
    path = tmp_path / 'iter_4.pth'
    content = read_checkpoint(str(path), mapped=False)
    content['param_schedulers'][0]['step'] = 'no method'
    content['param_schedulers'][1]['_global_step'] = -7
    content['optimizer']['param_groups'][0] |= dict(lr=float('nan'), maximize=True, evil=1)
    torch.save(content, path)
    runner = train(tmp_path, decay(9), 8, resume=True)
    (group,) = runner.optim_wrapper.param_groups
    assert group['maximize'] is False
    assert 'evil' not in group
    expected = rates(train(tmp_path / 'whole', decay(9), 8))
    assert rates(runner)[4:] == pytest.approx(expected[4:], rel=1e-12)


def test_an_optimizer_of_another_model_is_one_line(tmp_path: Path) -> None:
    train(tmp_path, None, 1)
    path = tmp_path / 'iter_1.pth'
    content = read_checkpoint(str(path), mapped=False)
    content['optimizer']['param_groups'] *= 2
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='expected the state of a run of this config'):
        train(tmp_path, None, 4, resume=True)


def test_momentum_of_adam_goes_on_to_the_bit(tmp_path: Path) -> None:
    momentum = dict(type='LinearMomentum', start_factor=0.1, by_epoch=False, begin=0, end=6)
    adam = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)))
    whole = train(tmp_path / 'whole', momentum, 4, **adam)
    train(tmp_path / 'parts', momentum, 2, **adam)
    parts = train(tmp_path / 'parts', momentum, 4, resume=True, **adam)
    assert 'Resuming: ' not in logged(parts)
    for one, other in zip(whole.model.parameters(), parts.model.parameters()):
        assert torch.equal(one, other)


def test_a_schedule_that_follows_a_metric_is_the_checkpoint_s(tmp_path: Path) -> None:
    plateau = dict(type='ReduceOnPlateauLR', monitor='acc', patience=1, rule='greater')
    runs = dict(epochs=1, scheduler=plateau, val_interval=1)
    toy_runner(tmp_path, **runs).train()
    runner = toy_runner(tmp_path, **runs | dict(epochs=2), resume=True)
    runner.train()
    assert "the checkpoint's schedule is used instead of the config's" in logged(runner)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (lambda average: average.fill_(torch.nan), 'expected a finite state of the optimizer'),
        (lambda average: average.resize_(3), r'exp_avg of the optimizer: .*\[1, 8\], got \[3\]'),
    ],
)
def test_broken_averages_of_the_optimizer_are_told_of(tmp_path: Path, change, told: str) -> None:
    adam = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)))
    train(tmp_path, None, 1, **adam)
    path = tmp_path / 'iter_1.pth'
    content = read_checkpoint(str(path), mapped=False)
    change(
        next(s for s in content['optimizer']['state'].values() if s['exp_avg'].ndim == 2)['exp_avg']
    )
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=told):
        train(tmp_path, None, 2, resume=True, **adam)
