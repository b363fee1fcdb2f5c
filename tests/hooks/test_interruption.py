"""Signals save at the next step, or at once during an evaluation."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import BaseLoop

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.hooks.signals import Signals, Stopped, weightier
from tests.toy_run import ToyModel, toy_runner


class Sender(Hook):
    """Sends a signal to this process in an iteration of training, or of an evaluation."""

    def __init__(self, number: int, *, train: int | None = None, val: int | None = None) -> None:
        self.number, self.train, self.val = number, train, val

    def before_train_iter(self, runner, batch_idx: int, data_batch: object = None) -> None:
        if runner.iter + 1 == self.train:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx: int, data_batch: object = None) -> None:
        if batch_idx == self.val:
            self.val = None
            os.kill(os.getpid(), self.number)


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.glob('*.pth')}


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stops_after_the_step_with_a_checkpoint(tmp_path: Path, number: int, code: int) -> None:
    hooks = [Sender(number, train=2)]
    runner = toy_runner(tmp_path, custom_hooks=hooks, checkpoint=dict(interval=100))
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught:
        runner.train()
    assert caught.value.code == code
    assert names(tmp_path) == {'iter_2.pth'}
    assert signal.getsignal(number) is before


def test_saving_goes_on(tmp_path: Path) -> None:
    runner = toy_runner(
        tmp_path, custom_hooks=[Sender(signal.SIGUSR1, train=2)], checkpoint=dict(interval=100)
    )
    runner.train()
    assert names(tmp_path) == {'iter_2.pth', 'iter_4.pth'}


def test_nothing_is_written_twice(tmp_path: Path, monkeypatch) -> None:
    written = []
    save = torch.save
    monkeypatch.setattr(torch, 'save', lambda c, path: (written.append(path.name), save(c, path)))
    with pytest.raises(Stopped):
        toy_runner(tmp_path, custom_hooks=[Sender(signal.SIGTERM, train=2)]).train()
    assert written == ['.iter_1.pth.partial', '.iter_2.pth.partial']


def test_accumulated_gradients_are_stepped_first(tmp_path: Path) -> None:
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), accumulative_counts=3)
    hooks = [Sender(signal.SIGTERM, train=2)]
    with pytest.raises(Stopped):
        toy_runner(
            tmp_path,
            iters=6,
            custom_hooks=hooks,
            optim_wrapper=wrapper,
            checkpoint=dict(interval=100),
        ).train()
    assert names(tmp_path) == {'iter_3.pth'}


@pytest.mark.parametrize('ema', [False, True])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_an_evaluation_is_no_hindrance(tmp_path: Path, number: int, ema: bool) -> None:
    """The state saved is that of the last step, averaged weights in their place."""
    averaging = [EMAHook(momentum=0.5)] if ema else []
    options = dict(iters=4, val_interval=2, checkpoint=dict(interval=100))

    def model() -> ToyModel:
        torch.manual_seed(1)
        return ToyModel()

    hooks = [EMAHook(momentum=0.5)] if ema else []
    alone = toy_runner(
        tmp_path / 'alone',
        model=model(),
        custom_hooks=hooks,
        **{**options, 'checkpoint': dict(interval=2)},
    )
    alone.train()
    runner = toy_runner(
        tmp_path / 'run', model=model(), custom_hooks=[*averaging, Sender(number, val=1)], **options
    )
    if number == signal.SIGTERM:
        with pytest.raises(Stopped):
            runner.train()
    else:
        runner.train()
        last = read_checkpoint(str(tmp_path / 'run' / 'iter_4.pth'))
        expected = read_checkpoint(str(tmp_path / 'alone' / 'iter_4.pth'))
        assert all(torch.equal(v, last['state_dict'][k]) for k, v in expected['state_dict'].items())
    saved = read_checkpoint(str(tmp_path / 'run' / 'iter_2.pth'))
    expected = read_checkpoint(str(tmp_path / 'alone' / 'iter_2.pth'))
    assert saved['meta']['iter'] == 2
    for part in ('state_dict', *(['ema_state_dict'] if ema else [])):
        for key, value in expected[part].items():
            assert torch.equal(saved[part][key], value), (part, key)


def test_the_middle_of_an_epoch_is_gone_on_from(tmp_path: Path) -> None:
    rates = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=9)
    options = dict(epochs=2, scheduler=rates, checkpoint=dict(max_keep_ckpts=1))

    def model() -> ToyModel:
        torch.manual_seed(1)
        return ToyModel()

    toy_runner(tmp_path / 'alone', model=model(), **options).train()
    hooks = [Sender(signal.SIGTERM, train=6)]
    with pytest.raises(Stopped):
        toy_runner(tmp_path / 'run', model=model(), custom_hooks=hooks, **options).train()
    assert names(tmp_path / 'run') == {'epoch_1.pth', 'iter_6.pth'}
    toy_runner(tmp_path / 'run', model=model(), resume=True, **options).train()
    assert names(tmp_path / 'run') == {'epoch_2.pth'}, 'the one of mid-epoch goes with the next'
    ends = [read_checkpoint(str(tmp_path / name / 'epoch_2.pth')) for name in ('alone', 'run')]
    assert ends[0]['meta']['iter'] == ends[1]['meta']['iter'] == 8
    for key, value in ends[0]['state_dict'].items():
        assert torch.equal(value, ends[1]['state_dict'][key]), key


def test_signals_that_came_before_the_evaluation_are_followed_when_it_begins(tmp_path) -> None:
    class Late(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, **_: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)  # this step's agreement is past

    options = dict(val_interval=1, checkpoint=dict(interval=100))
    with pytest.raises(Stopped):
        toy_runner(tmp_path, custom_hooks=[Late()], **options).train()
    assert names(tmp_path) == {'iter_1.pth'}


def test_which_signal_weighs_more() -> None:
    assert weightier(0, signal.SIGUSR1) == signal.SIGUSR1
    assert weightier(signal.SIGTERM, signal.SIGUSR1) == signal.SIGTERM
    assert weightier(signal.SIGINT, signal.SIGTERM) == signal.SIGTERM


def test_a_second_signal_ends_at_once(monkeypatch) -> None:
    ended = []
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    monkeypatch.setattr(os, '_exit', ended.append)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.pending == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == [130]


def test_torchrun_s_copy_of_a_signal_is_no_second_one(monkeypatch) -> None:
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.setattr(os, '_exit', lambda code: pytest.fail('ended'))
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.pending == signal.SIGTERM


def test_signals_during_a_save_wait_for_its_end(tmp_path: Path, monkeypatch) -> None:
    """As Slurm sends them: a warning, and soon after it the end."""
    save = torch.save

    def be_signalled(content: object, path: Path) -> None:
        if 'iter_2' in path.name:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
        save(content, path)

    monkeypatch.setattr(torch, 'save', be_signalled)
    hooks = [EMAHook(momentum=0.5), Sender(signal.SIGUSR1, val=1)]
    options = dict(val_interval=2, checkpoint=dict(interval=100))
    with pytest.raises(Stopped):
        toy_runner(tmp_path, custom_hooks=hooks, **options).train()
    assert read_checkpoint(str(tmp_path / 'iter_2.pth'))['meta']['iter'] == 2


def test_without_the_hooks_signals_are_as_ever(tmp_path: Path) -> None:
    hooks = [Sender(signal.SIGINT, train=2)]
    with pytest.raises(KeyboardInterrupt):
        toy_runner(tmp_path, custom_hooks=hooks, default_hooks=dict(step_watch=None)).train()


@pytest.mark.parametrize('epochs', [None, 2])
def test_an_evaluation_that_was_cut_off_is_made_up_for(tmp_path: Path, epochs: int | None) -> None:
    options = dict(val_interval=1 if epochs else 4, checkpoint=dict(save_best='acc'))
    options |= dict(epochs=epochs, iters=8)
    with pytest.raises(Stopped):
        toy_runner(tmp_path, custom_hooks=[Sender(signal.SIGTERM, val=1)], **options).train()
    assert not list(tmp_path.glob('best_*'))
    runner = toy_runner(tmp_path, resume=True, scores=(5.0, 1.0), **options)
    runner.train()
    (best,) = tmp_path.glob('best_*')
    assert best.name == ('best_acc_epoch_1.pth' if epochs else 'best_acc_iter_4.pth')
    told = 'The evaluation after 4 iterations was not completed'
    assert logged(runner).count(told) == 1
    again = toy_runner(tmp_path, resume=True, **options)
    again.train()
    assert told not in logged(again).replace(told, '', 1), 'logs of a second are in one file'


def test_a_run_in_the_background_leaves_ctrl_c_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.pending == 0
    finally:
        signal.signal(signal.SIGINT, before)


def logged(runner) -> str:
    return Path(runner._log_dir, f'{runner.timestamp}.log').read_text()


def test_who_reads_stderr_may_be_gone(tmp_path: Path, monkeypatch) -> None:
    """Ctrl-C with `| tee log` ends tee first."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, 'w') as broken:
        monkeypatch.setattr(sys, 'stderr', broken)
        with pytest.raises(Stopped):
            toy_runner(tmp_path, custom_hooks=[Sender(signal.SIGINT, train=2)]).train()
    assert names(tmp_path) == {'iter_1.pth', 'iter_2.pth'}


def test_other_loops_are_resumed_as_ever(tmp_path: Path) -> None:
    class Own(BaseLoop):
        epoch, iter, max_epochs, max_iters = 0, 1, 1, 1

        def run(self) -> None:
            self.runner.call_hook('before_train')

    toy_runner(tmp_path, iters=1).train()
    runner = toy_runner(tmp_path, resume=True)
    runner._train_loop = Own(runner, runner._train_dataloader)
    runner.train()


def test_a_note_of_another_branch_makes_no_evaluation_complete(tmp_path: Path) -> None:
    options = dict(val_interval=4, checkpoint=dict(interval=2), iters=8)
    toy_runner(tmp_path, **options).train()
    (tmp_path / 'iter_8.pth').unlink()
    hooks = [Sender(signal.SIGTERM, val=1)]
    with pytest.raises(Stopped):
        toy_runner(tmp_path, custom_hooks=hooks, resume=True, **options).train()
    assert not (tmp_path / 'last_evaluation').exists()
