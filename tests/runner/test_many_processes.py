"""Two processes, one of which alone meets something: both act on it, and agree."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import CheckpointError, DivergenceError, UserError
from mmconvnext.hooks import checkpoint
from mmconvnext.hooks.signals import Stopped
from tests.toy_run import ToyData, toy_runner

# As tools/train.py has it where there is no accelerator.
_WRAPPER = dict(type='MMDistributedDataParallel', device_ids=None)
TWO = dict(launcher='pytorch', cfg=dict(model_wrapper_cfg=_WRAPPER))


class SignalInEvaluation(Hook):
    """Signals one process in an evaluation, before a batch or after the last of them."""

    def __init__(self, number: int, *, batch: int | None, rank: int = 1) -> None:
        self.number, self.batch, self.rank = number, batch, rank

    def before_val_iter(self, runner, batch_idx: int, data_batch: object = None) -> None:
        if batch_idx == self.batch:
            self._send()

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        if self.batch is None:
            self._send()

    def _send(self) -> None:
        if torch.distributed.get_rank() == self.rank and self.number:
            os.kill(os.getpid(), self.number)
            self.number = 0


def diverge(folder: Path) -> None:
    # Of the batches of 2, the second process has those of odd numbers.
    runner = toy_runner(folder, data=ToyData(8, broken=(5,)), **TWO)
    with pytest.raises(DivergenceError, match=r'iteration 2: .* images: 5.png, 7.png;') as caught:
        runner.train()
    assert caught.value.everywhere


def fail_to_write(folder: Path) -> None:
    runner = toy_runner(folder, **TWO)
    if torch.distributed.get_rank() == 0:
        runner.save_checkpoint = _fail
    with pytest.raises(CheckpointError, match='no space is left') as caught:
        runner.train()
    assert caught.value.everywhere


def _fail(*_: object, **__: object) -> None:
    raise CheckpointError('no space is left')


def fail_to_name_the_last(folder: Path) -> None:
    runner = toy_runner(folder, **TWO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, 'write_text_whole', _fail)
        with pytest.raises(CheckpointError, match='no space is left'):
            runner.train()


def have_no_folder(folder: Path) -> None:
    with pytest.raises(CheckpointError, match='could not be written'):
        toy_runner(folder, checkpoint=dict(out_dir='/proc/nowhere'), **TWO).train()


class OwnWrapper(OptimWrapper):
    """One that cannot be watched."""


def save_without_a_watch(folder: Path) -> None:
    class Send(Hook):
        def after_train_iter(self, runner, batch_idx: int, **_: object) -> None:
            if torch.distributed.get_rank() == 1 and batch_idx == 1:
                os.kill(os.getpid(), signal.SIGUSR1)

    wrapper = OwnWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1))
    runner = toy_runner(folder, custom_hooks=[Send()], checkpoint=dict(interval=100), **TWO)
    wrapper.optimizer = torch.optim.SGD(runner.model.parameters(), 0.01)
    runner.optim_wrapper = wrapper
    runner.train()
    assert len(saved(folder)) == 2


def go_on_with_the_best_of_one(folder: Path) -> None:
    """Each machine has a disk of its own, and the first the best checkpoint."""
    options = dict(val_interval=2, checkpoint=dict(save_best='acc', interval=2))
    toy_runner(folder / 'both', iters=2, scores=(5.0,), **options, **TWO).train()
    torch.distributed.barrier()
    rank = torch.distributed.get_rank()
    mine = folder / f'machine{rank}'
    mine.mkdir(parents=True)
    names = ['iter_2.pth', 'last_evaluation', *(['best_acc_iter_2.pth'] if rank == 0 else [])]
    for name in names:
        shutil.copy(folder / 'both' / name, mine)
    torch.distributed.barrier()
    toy_runner(mine, iters=4, scores=(3.0,), resume=True, **options, **TWO).train()


def resume_from_what_the_first_chose(folder: Path) -> None:
    toy_runner(folder, iters=2, **TWO).train()
    torch.distributed.barrier()
    chosen = folder / f'iter_{2 - torch.distributed.get_rank()}.pth'
    runner = toy_runner(folder, iters=3, resume=True, load_from=str(chosen), **TWO)
    runner.train()
    assert runner.message_hub.get_scalar('train/loss').data[0].size == 3


def save_in_evaluation(folder: Path) -> None:
    _evaluate(folder, signal.SIGUSR1, batch=0)
    assert saved(folder) == {'iter_2.pth', 'iter_4.pth'}


def stop_in_evaluation(folder: Path) -> None:
    with pytest.raises(Stopped) as caught:
        _evaluate(folder, signal.SIGTERM, batch=0)
    assert caught.value.code == 143
    assert saved(folder) == {'iter_2.pth'}


def stop_after_the_last_batch(folder: Path) -> None:
    """Processes are not in step then: the next step is the one to stop at."""
    import mmconvnext.hooks.interruption as module

    module._PATIENCE = 0.2
    with pytest.raises(Stopped):
        _evaluate(folder, signal.SIGTERM, batch=None)
    assert saved(folder) == {'iter_3.pth'}


def _evaluate(folder: Path, number: int, batch: int | None) -> None:
    hooks = [SignalInEvaluation(number, batch=batch)]
    options = dict(val_interval=2, checkpoint=dict(interval=100))
    toy_runner(folder, custom_hooks=hooks, **TWO, **options).train()


def saved(folder: Path) -> set[str]:
    torch.distributed.barrier()
    names = {path.name for path in folder.glob('iter_*.pth')}
    assert all(read_checkpoint(str(folder / name)) for name in names)
    return names


def evaluate_what_is_saved(folder: Path) -> None:
    """Each process has batch norms of its own, but a checkpoint those of the first."""

    class Compare(Hook):
        def before_val_iter(self, runner, **_: object) -> None:
            model = runner.model.module.state_dict()
            everyone = all_gather_object(model['norm.running_mean'])
            assert torch.equal(*everyone)
            saved = read_checkpoint(str(folder / 'iter_2.pth'))['state_dict']
            assert all(torch.equal(saved[name], value) for name, value in model.items())

    ema = dict(type='EMAHook', update_buffers=True, momentum=0.5)
    for hooks in ([Compare()], [Compare(), ema]):
        toy_runner(folder, iters=2, val_interval=2, custom_hooks=hooks, **TWO).train()


def have_one_value_to_normalise(folder: Path) -> None:
    with pytest.raises(UserError, match=r'found 1 in norm \(batches of 1 image') as caught:
        toy_runner(
            folder,
            train_dataloader=dict(
                dataset=ToyData(), batch_size=1, sampler=dict(type='InfiniteSampler')
            ),
            **TWO,
        ).train()
    assert caught.value.everywhere
    # Of 5 images, each process has 3, and the last batch has 1.
    with pytest.raises(UserError, match=r'last batch of an epoch, 3 images by 2, of 1 image'):
        toy_runner(folder, epochs=1, data=ToyData(5), **TWO).train()


SCENES = (
    diverge,
    fail_to_write,
    fail_to_name_the_last,
    have_no_folder,
    save_without_a_watch,
    go_on_with_the_best_of_one,
    resume_from_what_the_first_chose,
    save_in_evaluation,
    stop_in_evaluation,
    stop_after_the_last_batch,
    evaluate_what_is_saved,
    have_one_value_to_normalise,
)


def _play(rank: int, folder: Path, scenes: tuple[Callable[[Path], None], ...]) -> None:
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    os.environ |= dict(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    store = torch.distributed.FileStore(str(folder / 'store'), 2)
    torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
    for scene in scenes:
        scene(folder / scene.__name__)
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_what_one_process_meets_both_act_on(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(
        _play, (tmp_path, SCENES), nprocs=2, start_method='forkserver'
    )
