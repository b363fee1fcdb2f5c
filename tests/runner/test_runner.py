"""mmconvnext's Runner against mmengine's, and what it does not do."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner as MMEngineRunner
from torch import _inductor as inductor

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import CheckpointError, UserError
from mmconvnext.hooks import CheckpointHook, InterruptionHook, StepWatchHook
from mmconvnext.optim import OptimWrapper
from mmconvnext.runner.loops import EpochBasedTrainLoop
from mmconvnext.runner.runner import Runner
from tests.toy_run import ToyData, ToyModel, toy_runner


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(str(path))['state_dict']


def logged(runner) -> str:
    return Path(runner._log_dir, f'{runner.timestamp}.log').read_text()


def test_training_matches_mmengine_s(tmp_path: Path, monkeypatch) -> None:
    import tests.toy_run

    options = dict(iters=4, scheduler=dict(type='PolyLR', by_epoch=False, end=5))
    torch.manual_seed(1)
    toy_runner(tmp_path / 'ours', model=ToyModel(), **options).train()
    monkeypatch.setattr(tests.toy_run, 'Runner', MMEngineRunner)
    torch.manual_seed(1)
    toy_runner(tmp_path / 'theirs', model=ToyModel(), **options).train()
    ours, theirs = (read_checkpoint(str(tmp_path / n / 'iter_4.pth')) for n in ('ours', 'theirs'))
    assert ours.keys() == theirs.keys() | {'random_states'}
    assert {*ours['meta']} == {*theirs['meta']}
    for key, value in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][key], value), key
    assert ours['param_schedulers'] == theirs['param_schedulers']


def test_any_config_gets_what_is_ours(tmp_path: Path) -> None:
    runner = toy_runner(tmp_path, epochs=1)
    runner.train()
    kinds = {type(hook) for hook in runner.hooks}
    assert {CheckpointHook, InterruptionHook, StepWatchHook} <= kinds
    assert type(runner.optim_wrapper) is OptimWrapper
    assert type(runner.train_loop) is EpochBasedTrainLoop


def test_what_is_ours_can_be_left_out(tmp_path: Path) -> None:
    runner = toy_runner(tmp_path, default_hooks=dict(step_watch=None, interruption=None))
    runner.train()
    assert not {InterruptionHook, StepWatchHook} & {type(hook) for hook in runner.hooks}
    assert (tmp_path / 'iter_4.pth').is_file()


@pytest.mark.parametrize('asked_for', [False, True])
def test_compiling_leaves_the_layout_of_maps(tmp_path: Path, monkeypatch, asked_for: bool) -> None:
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda function: compiled.append(function) or function)
    with inductor.config.patch(layout_optimization=True):
        runner = toy_runner(tmp_path, iters=1)
        runner.cfg['compile'] = asked_for
        runner.train()
        assert inductor.config.layout_optimization is not asked_for
    assert len(compiled) == asked_for


def test_mmengine_s_registry_builds_it() -> None:
    assert RUNNERS.get('mmconvnext.Runner') is Runner


def test_a_config_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    toy_runner(tmp_path, iters=2).train()
    path = tmp_path / 'iter_2.pth'
    content = read_checkpoint(str(path), mapped=False)
    made = tmp_path / 'made'
    content['meta']['config'] = f"__import__('os').mkdir({str(made)!r})\ngpu_ids=[]\n"
    torch.save(content, path)
    toy_runner(tmp_path, iters=3, resume=True).train()
    assert not made.exists()
    assert (tmp_path / 'iter_3.pth').is_file()


def test_resuming_passes_over_what_is_broken_and_says_so(tmp_path: Path) -> None:
    toy_runner(tmp_path, iters=2).train()
    newest = tmp_path / 'iter_2.pth'
    newest.write_bytes(newest.read_bytes()[:-50])
    (tmp_path / 'last_checkpoint').unlink()
    runner = toy_runner(tmp_path, iters=3, resume=True)
    runner.train()
    assert f'Skipped: {newest}' in logged(runner)
    assert 'resumed epoch: 0, iter: 1' in logged(runner)


def test_resuming_in_an_empty_work_dir_begins_with_a_notice(tmp_path: Path) -> None:
    runner = toy_runner(tmp_path, iters=1, resume=True)
    runner.train()
    assert f'Nothing to resume in {tmp_path}' in logged(runner)
    again = toy_runner(tmp_path, iters=1, resume=True)
    again.train()
    assert 'Nothing left to train: 1 iterations are done' in logged(again)


@pytest.mark.parametrize(
    'change',
    [
        dict(optimizer=[]),
        dict(optimizer=dict(state={}, param_groups=3)),
        dict(message_hub='x'),
        dict(meta={}),
        dict(meta=dict(iter=-3, epoch='x')),
        dict(param_schedulers=7),
        dict(state_dict=dict(weight=torch.ones(3))),
    ],
)
def test_states_that_do_not_suit_are_one_line_or_left_aside(tmp_path: Path, change: dict) -> None:
    toy_runner(tmp_path, iters=1).train()
    path = tmp_path / 'iter_1.pth'
    torch.save({**read_checkpoint(str(path), mapped=False), **change}, path)
    runner = toy_runner(tmp_path, iters=2, resume=True, load_from=str(path))
    try:
        runner.train()
    except CheckpointError as error:
        assert '\n' not in str(error)  # noqa: PT017 (some are of no harm)
    else:
        assert (tmp_path / 'iter_2.pth').is_file()


def test_a_test_leaves_the_training_s_config(tmp_path: Path) -> None:
    path = tmp_path / 'toy.py'
    path.write_text('value = 1\n')
    config = Config.fromfile(path)
    toy_runner(tmp_path / 'run', iters=1, cfg=config).train()
    kept = (tmp_path / 'run' / 'toy.py').read_bytes()
    config.value = 2
    runner = toy_runner(tmp_path / 'run', iters=1, cfg=config)
    runner.val()
    assert (tmp_path / 'run' / 'toy.py').read_bytes() == kept
    assert Config.fromfile(Path(runner._log_dir) / 'toy.py').value == 2


def test_workers_leave_signals_to_the_run() -> None:
    class Signalled(ToyData):
        def __getitem__(self, index: int) -> dict:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                # From itself: as from anybody but the run.
                os.kill(os.getpid(), number)
            return super().__getitem__(index)

    sampler = dict(type='DefaultSampler', shuffle=False)
    options = dict(dataset=Signalled(), batch_size=2, num_workers=1, sampler=sampler)
    loader = Runner.build_dataloader(options, seed=0)
    assert len(list(loader)) == 4


def test_the_run_can_end_its_workers() -> None:
    class Stuck(ToyData):
        def __getitem__(self, index: int) -> dict:
            time.sleep(600)

    sampler = dict(type='DefaultSampler', shuffle=False)
    options = dict(dataset=Stuck(), batch_size=2, num_workers=1, sampler=sampler)
    batches = iter(Runner.build_dataloader(options, seed=0))
    (worker,) = batches._workers
    time.sleep(0.3)  # it starts
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_a_hub_s_address_is_left_to_mmengine(tmp_path: Path, monkeypatch) -> None:
    from mmconvnext.runner import runner as module

    asked = []
    content = {'state_dict': ToyModel().state_dict()}
    monkeypatch.setattr(
        module, '_load_checkpoint', lambda name, map_location: (asked.append(name), content)[1]
    )
    toy_runner(tmp_path, iters=1).load_checkpoint('s3://bucket/a.pth')
    assert asked == ['s3://bucket/a.pth']


@pytest.mark.parametrize(
    'name', ['x{{$A:.+}}', "it's }}',__import__('os').system('touch made'),#", '\ud800"""\\\n']
)
def test_every_config_that_a_run_writes_is_read_as_it_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / 'toy.py'
    path.write_text('value = 1\n')
    config = Config.fromfile(path)
    config.classes = (name, 'dog')
    config.weights = {name: 2}
    runner = toy_runner(tmp_path / 'run', iters=1, cfg=config)
    runner.train()
    text = read_checkpoint(str(tmp_path / 'run' / 'iter_1.pth'))['meta']['cfg']
    (tmp_path / 'meta.py').write_text(text)
    drawn = Path(runner._log_dir) / 'vis_data' / 'config.py'
    written = [tmp_path / 'run' / 'toy.py', tmp_path / 'meta.py', drawn]
    for file in written:
        again = Config.fromfile(file)
        assert again.classes == (name, 'dog'), file
        assert again.weights == {name: 2}, file
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('batch_size', [4, 8])
def test_epochs_of_another_length_are_trained_in_full(tmp_path: Path, batch_size: int) -> None:
    toy_runner(tmp_path, epochs=2).train()
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = dict(dataset=ToyData(), batch_size=batch_size, num_workers=0, sampler=sampler)
    runner = toy_runner(tmp_path, epochs=3, resume=True, train_dataloader=loader)
    runner.train()
    assert runner.iter == 3 * 8 // batch_size
    assert f'an epoch has {8 // batch_size} batches, 4 in the checkpoint' in logged(runner)
    assert f'Epoch(train) [3][1/{8 // batch_size}]' in logged(runner)


def test_options_of_workers_are_left_out_without_workers(tmp_path: Path) -> None:
    sampler = dict(type='InfiniteSampler', shuffle=False)
    loader = dict(dataset=ToyData(), batch_size=2, sampler=sampler, num_workers=0)
    runner = toy_runner(tmp_path, train_dataloader={**loader, 'persistent_workers': True}, iters=1)
    runner.train()
    assert 'num_workers is 0: persistent_workers not used' in logged(runner)


def test_an_epoch_without_a_batch_is_one_line(tmp_path: Path) -> None:
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = dict(dataset=ToyData(), batch_size=9, num_workers=0, sampler=sampler, drop_last=True)
    with pytest.raises(UserError, match=r'expected 9 images per process .* found 8; set a smaller'):
        toy_runner(tmp_path, epochs=1, train_dataloader=loader).train()
