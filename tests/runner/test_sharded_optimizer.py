"""ZeroRedundancyOptimizer in two processes: AdamW's numbers, with half of its state in each."""

import shutil
import signal
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement

from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import UserError
from mmconvnext.hooks.signals import Stopped
from tests.campaigns.resuming import differences
from tests.runner.test_many_processes import TWO, SignalInEvaluation, _play, saved
from tests.toy_run import toy_runner

KEYS = ('state_dict', 'optimizer', 'param_schedulers', 'random_states')


class TinyModel(BaseModel):
    """Makes the features of 3 × 32 × 32 images small."""

    def __init__(self) -> None:
        super().__init__()
        arch = dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32])
        self.backbone = ConvNeXt(arch, out_indices=(3,), drop_path_rate=0.3)

    def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        if mode != 'loss':
            return [BaseDataElement() for _ in inputs]
        images = inputs[:, :3, None, None].expand(-1, -1, 32, 32).contiguous()
        return {'loss_features': self.backbone(images)[0].square().mean()}


def tiny_runner(folder: Path, *, sharded: bool = True, **options):
    """A runner with layer decay, betas of one stage, clipped gradients and a schedule."""
    kind = dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW')
    wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(kind if sharded else dict(type='AdamW'), lr=1e-2, weight_decay=0.05),
        constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(decay_rate=0.8, custom_keys={'stages.1': dict(betas=(0.5, 0.9))}),
        clip_grad=dict(max_norm=0.1),
    )
    scheduler = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2)
    torch.manual_seed(torch.distributed.get_rank() if options.get('launcher') else 0)
    options = dict(model=TinyModel(), optim_wrapper=wrapper, scheduler=scheduler) | options
    return toy_runner(folder, **options)


def give_adamws_numbers(folder: Path) -> None:
    runners = []
    for sharded in (True, False):
        runners.append(tiny_runner(folder / str(sharded), sharded=sharded, iters=2, **TWO))
        runners[-1].train()
        torch.distributed.barrier()
    contents = [read_checkpoint(str(folder / str(s) / 'iter_2.pth')) for s in (True, False)]
    for content in contents:
        del content['optimizer']['base_param_settings']  # an example of a group, not a state
    assert not [*differences(*({key: one[key] for key in KEYS} for one in contents))]
    parts = runners[0].optim_wrapper.optimizer.optim.state
    whole = runners[1].optim_wrapper.optimizer.state
    share = sum(one.numel() for one in parts) / sum(one.numel() for one in whole)
    assert 0.45 < share < 0.55


def resume_exactly(folder: Path) -> None:
    """From a sharded checkpoint, and from AdamW's."""
    left_alone = folder.parent / give_adamws_numbers.__name__
    wanted = read_checkpoint(str(left_alone / 'True/iter_2.pth'))
    for sharded in ('True', 'False'):
        work_dir = folder / sharded
        if torch.distributed.get_rank() == 0:
            work_dir.mkdir(parents=True)
            shutil.copy(left_alone / sharded / 'iter_1.pth', work_dir)
        torch.distributed.barrier()
        runner = tiny_runner(work_dir, iters=2, resume=True, **TWO)
        runner.train()
        assert not runner.optim_wrapper.optimizer.state  # torch would keep a copy of the part
        torch.distributed.barrier()
        found = read_checkpoint(str(work_dir / 'iter_2.pth'))
        assert not [*differences(*({key: one[key] for key in KEYS} for one in (found, wanted)))]


def save_at_the_next_step(folder: Path) -> None:
    """A signal that only the first process has, when processes are no longer in step."""
    hook = SignalInEvaluation(signal.SIGTERM, batch=None, rank=0)
    options = dict(custom_hooks=[hook], val_interval=1, checkpoint=dict(interval=100))
    with pytest.raises(Stopped):
        tiny_runner(folder, **options, **TWO).train()
    assert saved(folder) == {'iter_2.pth'}


SCENES = (give_adamws_numbers, resume_exactly, save_at_the_next_step)


def test_two_processes_share_the_state(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_play, (tmp_path, SCENES), nprocs=2)


def test_one_process_without_launcher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'expected several processes, got --launcher none'):
        tiny_runner(tmp_path).train()
