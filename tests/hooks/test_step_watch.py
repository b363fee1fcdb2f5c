"""NaN and infinity stay out of weights and checkpoints."""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook
from torch import nn

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import ArgumentError, DivergenceError
from mmconvnext.hooks import StepWatchHook
from tests.toy_run import ToyData, ToyModel, toy_runner

BROKEN = ToyData(8, broken=(5,))  # of the third iteration of 2 images


def logged(runner) -> str:
    return Path(runner._log_dir, f'{runner.timestamp}.log').read_text()


def is_finite(state: dict) -> bool:
    return all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_the_run_ends_within_the_step_and_says_all(tmp_path: Path, clip) -> None:
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), clip_grad=clip)
    runner = toy_runner(tmp_path, data=BROKEN, optim_wrapper=wrapper)
    with pytest.raises(DivergenceError) as caught:
        runner.train()
    message = str(caught.value)
    for part in (
        'iteration 3: expected a finite loss and gradients, got loss nan (loss_sum nan), '
        'gradient norm nan',
        'images: 4.png, 5.png',
        'no step was taken with it',
        f'last good checkpoint: {tmp_path / "iter_2.pth"}',
        'default_hooks.step_watch.tolerate=N',
    ):
        assert part in message
    assert '\n' not in message
    assert is_finite(dict(runner.model.named_parameters()))
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['iter_1.pth', 'iter_2.pth']


def test_a_norm_alone_ends_the_run_too(tmp_path: Path) -> None:
    class Root(ToyModel):
        def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
            inputs = torch.stack(inputs)
            # The root is 0, and its slope infinite.
            return {'loss_root': (self.layer(inputs) * 0).abs().sqrt().sum()}

    runner = toy_runner(tmp_path, model=Root())
    with pytest.raises(DivergenceError, match=r'got loss 0 .loss_root 0., gradient norm nan'):
        runner.train()


def test_tolerated_steps_leave_weights_and_batch_norm_as_they_were(tmp_path: Path) -> None:
    hooks = dict(step_watch=dict(type='mmconvnext.StepWatchHook', tolerate=1))
    states = []

    class Recording(ToyModel):
        def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
            states.append({k: v.clone() for k, v in self.state_dict().items()})
            return super().forward(inputs, data_samples, mode)

    runner = toy_runner(tmp_path, data=BROKEN, model=Recording(), default_hooks=hooks)
    runner.train()
    before, after = states[2], states[3]
    kept = [key for key in before if before[key].is_floating_point()]
    assert all(torch.equal(before[key], after[key]) for key in kept)
    assert 'step skipped, 1 of at most 1 in a row' in logged(runner)
    assert is_finite(runner.model.state_dict())


def test_more_in_a_row_than_tolerated_end_the_run(tmp_path: Path) -> None:
    hooks = dict(step_watch=dict(type='mmconvnext.StepWatchHook', tolerate=1))
    runner = toy_runner(tmp_path, data=ToyData(8, broken=(3, 5)), default_hooks=hooks)
    with pytest.raises(DivergenceError, match='iteration 3'):
        runner.train()


def test_of_accumulated_iterations_the_first_counts_too(tmp_path: Path) -> None:
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), accumulative_counts=2)
    runner = toy_runner(tmp_path, data=BROKEN, optim_wrapper=wrapper, checkpoint=dict(interval=2))
    with pytest.raises(DivergenceError, match=r'iteration 4: .* got loss nan'):
        runner.train()


def test_weights_that_overflow_in_a_step_are_not_saved(tmp_path: Path) -> None:
    class Steep(ToyModel):
        def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
            return {'loss_sum': 1000 * super().forward(inputs, data_samples, mode)['loss_sum']}

    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e38))
    runner = toy_runner(tmp_path, optim_wrapper=wrapper, model=Steep())
    with pytest.raises(DivergenceError, match=r'iter_1.pth is not written: .* found NaN or inf'):
        runner.train()
    assert list(tmp_path.glob('*.pth')) == []


def watch(tolerate: int = 0) -> StepWatchHook:
    class Run:
        logger, iter = logging.getLogger('none'), 0

        class message_hub:  # noqa: N801
            runtime_info: dict = {}  # noqa: RUF012

    hook = StepWatchHook(tolerate)
    hook._runner = Run
    return hook


@pytest.mark.parametrize('norm', [float('nan'), float('inf')])
def test_a_scaler_s_overflow_is_left_out_and_counted(norm: float) -> None:
    hook = watch()
    for count in range(1, 4):
        assert hook.look(torch.tensor(1.0), torch.tensor(norm), True)[1] is False
        assert hook.skipped_by_scaler == count
    assert hook.look(torch.tensor(1.0), torch.tensor(2.0), True) == (2.0, True)


def test_a_loss_that_is_nan_is_not_the_scaler_s() -> None:
    with pytest.raises(DivergenceError):
        watch().look(torch.tensor(float('nan')), torch.tensor(float('nan')), True)


def test_a_scaler_that_goes_down_for_ever_ends_the_run() -> None:
    hook = watch()
    for _ in range(49):
        hook.look(torch.tensor(1.0), torch.tensor(float('inf')), True)
    with pytest.raises(DivergenceError):
        hook.look(torch.tensor(1.0), torch.tensor(float('inf')), True)


def test_a_rate_of_0_with_iterations_left_warns_once(tmp_path: Path) -> None:
    scheduler = dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=3)
    runner = toy_runner(tmp_path, iters=6, scheduler=scheduler)
    runner.train()
    assert (
        logged(runner).count(
            'the learning rate is 0 from iteration 4, and the remaining 3 iterations'
        )
        == 1
    )


@pytest.mark.parametrize('tolerate', [-1, 1.5, '2'])
def test_tolerate_is_a_number(tolerate: object) -> None:
    with pytest.raises(ArgumentError, match='tolerate'):
        StepWatchHook(tolerate)


@pytest.mark.parametrize('ema', [None, False, True])
def test_of_accumulated_iterations_the_broken_one_is_named(tmp_path: Path, ema) -> None:
    class Told(ToyModel):
        def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
            output = super().forward(inputs, data_samples, mode)
            return output | {'acc_top1': torch.zeros(())} if mode == 'loss' else output

    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), accumulative_counts=2)
    hooks = dict(step_watch=dict(tolerate=1))
    data = ToyData(8, broken=(1, 5))
    averages = [] if ema is None else [EMAHook(momentum=0.5, update_buffers=ema)]
    options = dict(data=data, optim_wrapper=wrapper, default_hooks=hooks, model=Told())
    options |= dict(custom_hooks=averages)
    runner = toy_runner(tmp_path, iters=6, **options)
    with pytest.raises(
        DivergenceError, match=r'got loss nan .loss_sum nan., .*nan; images: 4'
    ) as e:
        runner.train()
    assert 'images: 4.png, 5.png, 6.png, 7.png;' in str(e.value)
    # Batch norm is as if there had been no broken images.
    (path,) = tmp_path.glob('iter_*.pth')
    checkpoint = read_checkpoint(str(path))
    assert path.name == 'iter_2.pth'  # in the middle of an accumulation nothing is saved
    assert is_finite(checkpoint['state_dict'])
    assert ema is None or is_finite(checkpoint['ema_state_dict'])


def test_a_learning_rate_beyond_float32_is_told_of(tmp_path: Path) -> None:
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e39))
    with pytest.raises(DivergenceError, match=r'expected a finite learning rate, got 1e\+39'):
        toy_runner(tmp_path, optim_wrapper=wrapper).train()


def test_of_several_rates_the_wrong_one_is_told(tmp_path: Path) -> None:
    runner = toy_runner(tmp_path)
    watch = next(hook for hook in runner.hooks if isinstance(hook, StepWatchHook))
    groups = [dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in (0.1, float('nan'))]
    runner.optim_wrapper = runner.build_optim_wrapper(
        dict(type='OptimWrapper', optimizer=torch.optim.SGD(groups))
    )
    with pytest.raises(DivergenceError, match='got nan'):
        watch._look_at_rates(runner)
