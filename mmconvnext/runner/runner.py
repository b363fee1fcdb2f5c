"""mmengine's Runner, with files that run no code and checkpoints that are never lost."""

import copy
import importlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config as MMEngineConfig
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
    master_only,
)
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop
from mmengine.runner import Runner as MMEngineRunner
from mmengine.runner.checkpoint import (
    _load_checkpoint,
    _load_checkpoint_to_model,
    save_checkpoint,
    weights_to_cpu,
)
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmconvnext.checkpoints.finite import require_finite_run, require_optimizer_state
from mmconvnext.checkpoints.of_a_run import checkpoint_place, is_elsewhere, newest_whole
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.training_state import as_data
from mmconvnext.checkpoints.whole import save_whole
from mmconvnext.config.config_file import Config
from mmconvnext.errors import CheckpointError, UserError, first_line
from mmconvnext.hooks import InterruptionHook, StepWatchHook
from mmconvnext.hooks.checkpoint import is_sharded
from mmconvnext.hooks.signals import Signals, leave_signals_to_the_run
from mmconvnext.registry import RUNNERS
from mmconvnext.runner.batch_norm import require_values_to_normalise, share_statistics
from mmconvnext.runner.building import building
from mmconvnext.runner.peers import peers_needed
from mmconvnext.runner.random_state import (
    State,
    random_state_kept,
    read_random_state,
    set_random_state,
)
from mmconvnext.runner.resumed_schedule import PlannedSchedule
from mmconvnext.runner.training_data import require_batches

# mmengine's classes that are replaced by this package's classes of the same name.
_REPLACED = (
    *('AmpOptimWrapper', 'OptimWrapper'),
    *('CheckpointHook', 'EpochBasedTrainLoop', 'IterBasedTrainLoop'),
)
_OWN_HOOKS: dict[str, Any] = {
    'step_watch': dict(type='mmconvnext.StepWatchHook'),
    'interruption': dict(type='mmconvnext.InterruptionHook'),
}
_OF_WORKERS = ('persistent_workers', 'prefetch_factor')
# Errors that mmengine raises for a checkpoint that does not fit the run.
_MISFITS = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@RUNNERS.register_module()
class Runner(MMEngineRunner):
    """Runs any config of mmengine, mmseg or mmdet; the ``runner_type`` of this package's configs.

    The differences from mmengine's Runner are:

    - A checkpoint is plain data (:mod:`~mmconvnext.checkpoints.training_state`), complete or absent
      (:mod:`~mmconvnext.checkpoints.whole`), and has finite weights.
    - Resuming is exact: random states of all processes are saved, and no image is read again.
    - Resuming uses the newest undamaged checkpoint, and the config's schedule.
    - Each step is checked before it is taken (:class:`.StepWatchHook`), and signals save the run
      (:class:`.InterruptionHook`).
    - Before training, batch norms are checked, and all processes evaluate with the first one's
      statistics (:mod:`~mmconvnext.runner.batch_norm`).
    - A test writes its config next to its log, and does not overwrite the training's config.
    """

    def __init__(self, *args: object, cfg: MMEngineConfig | dict | None = None, **kwargs: object):
        self.signals = Signals()
        self._resuming = False
        self._random_states: list[State] = []  # of all processes, while they can be saved
        self._resumed_random_state: State | None = None
        if isinstance(cfg, dict):
            cfg = MMEngineConfig(cfg)
        if cfg is not None:
            cfg = Config.of(cfg)  # so that the written config is read with the same values
        with building('the run'):
            super().__init__(*args, cfg=cfg, **kwargs)

    def dump_config(self) -> None:
        """Do nothing: the folder of the config is known only when training or testing starts."""

    @master_only
    def _dump_config_to(self, folder: str) -> None:
        name = self.cfg.filename and os.path.basename(self.cfg.filename)
        self.cfg.dump(os.path.join(folder, name or f'{self.timestamp}.py'))

    def train(self) -> nn.Module:
        """Train, and handle signals.

        Raises:
            Stopped: a signal to stop was received; the state is saved.
            DivergenceError: the loss, the gradients or the weights are not finite.
            LostProcessError: another process has ended.
        """
        self._dump_config_to(self.work_dir)
        kinds = {type(hook) for hook in self.hooks}
        follows = {StepWatchHook, InterruptionHook} <= kinds
        with peers_needed() as peers, self.signals if follows else nullcontext():
            self.signals.is_lost = peers.ended if peers else lambda: False
            return super().train()

    def _maybe_compile(self, target: str) -> None:
        """Like mmengine's, but keep the memory layout of maps, which is channels-last.

        If inductor (torch 2.13) chooses layouts, training at dynamic sizes fails with the TypeError
        "cannot determine truth value of Relational".
        """
        asked_for = self.cfg.get('compile')
        options = asked_for if isinstance(asked_for, dict) else {}
        if asked_for not in (None, False) and options.get('backend', 'inductor') == 'inductor':
            inductor: Any = importlib.import_module('torch._inductor.config')  # takes seconds
            inductor.layout_optimization = False
        super()._maybe_compile(target)

    def val(self) -> dict:
        self._dump_config_to(self._log_dir)
        with peers_needed():
            return super().val()

    def test(self) -> dict:
        self._dump_config_to(self._log_dir)
        with peers_needed():
            return super().test()

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register mmengine's default hooks, with a replaced CheckpointHook, and two more hooks."""
        chosen = {**_OWN_HOOKS, 'checkpoint': dict(type='CheckpointHook', interval=1)}
        chosen |= hooks or {}
        for name, own in _OWN_HOOKS.items():
            if chosen[name] is None:
                del chosen[name]
            elif isinstance(chosen[name], dict):
                chosen[name] = {**own, **chosen[name]}  # options without a type are allowed
        super().register_default_hooks({name: _ours(hook) for name, hook in chosen.items()})

    def build_train_loop(self, loop: object) -> Any:
        """Build the training loop, which can resume at any iteration, and checks batch norms."""
        if isinstance(loop, dict) and 'by_epoch' in loop:
            kind = 'EpochBasedTrainLoop' if loop['by_epoch'] else 'IterBasedTrainLoop'
            loop = {**loop, 'type': kind}
            del loop['by_epoch']
        with building('train_cfg'):
            built: Any = super().build_train_loop(_ours(loop))
        built.run = partial(self._train_checked, built.run)
        return built

    def _train_checked(self, run: Callable[[], Any]) -> Any:
        with random_state_kept():
            require_batches(self.train_dataloader)
            require_values_to_normalise(self.model, self.train_dataloader, self.max_iters)
        return run()

    def build_val_loop(self, loop: object) -> Any:
        """Build the evaluation loop, which leaves the random states of the training as they are."""
        with building('val_cfg'):
            built: Any = super().build_val_loop(loop)
        built.run = partial(self._evaluate_apart, built.run)
        return built

    def _evaluate_apart(self, run: Callable[[], Any]) -> Any:
        averages = [one.ema_model for one in self.hooks if isinstance(one, EMAHook)]
        share_statistics([self.model, *averages])
        # A checkpoint that is saved meanwhile gets the states of the training.
        with self.random_states_gathered(), random_state_kept():
            return run()

    @contextmanager
    def random_states_gathered(self) -> Iterator[None]:
        """Put the random states of all processes into checkpoints saved within; all call this."""
        if self._random_states:
            yield
            return
        self._random_states = all_gather_object(read_random_state())
        try:
            yield
        finally:
            self._random_states = []

    def restore_random_state(self) -> None:
        """Set the random state of the checkpoint that the run was resumed from, once."""
        if self._resumed_random_state is not None:
            set_random_state(self._resumed_random_state)
            self._resumed_random_state = None

    def build_optim_wrapper(self, optim_wrapper: object) -> object:
        """Build the optimizer wrapper, as one of this package that can be watched.

        Raises:
            UserError: the optimizer's state is to be sharded, but there is no launcher.
        """
        optimizer = optim_wrapper.get('optimizer') if isinstance(optim_wrapper, dict) else None
        if isinstance(optimizer, dict) and 'optimizer_type' in optimizer and not self.distributed:
            raise UserError(
                'ZeroRedundancyOptimizer: expected several processes, got --launcher none; start '
                'with tools/dist_train.sh, or set optim_wrapper.optimizer.type='
                f'{optimizer["optimizer_type"]} and remove optimizer_type'
            )
        with building('optim_wrapper'):
            return super().build_optim_wrapper(_ours(optim_wrapper))

    def build_param_scheduler(self, scheduler: Any) -> Any:
        with building('param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def build_test_loop(self, loop: Any) -> Any:
        with building('test_cfg'):
            return super().build_test_loop(loop)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: object, **kwargs: object) -> DataLoader:
        """Build a data loader whose workers ignore signals; without workers, drop their options."""
        if isinstance(dataloader, dict) and not dataloader.get('num_workers'):
            unused = [name for name in _OF_WORKERS if dataloader.get(name)]
            if unused:  # PyTorch refuses them
                dataloader = {k: v for k, v in dataloader.items() if k not in unused}
                told = f'num_workers is 0: {" and ".join(unused)} not used'
                print_log(told, 'current', logging.WARNING)
        loader = MMEngineRunner.build_dataloader(dataloader, *args, **kwargs)
        if loader.num_workers:
            loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)
        return loader

    def load_or_resume(self) -> None:
        """Load or resume; ``resume`` without a file uses the newest undamaged checkpoint."""
        resuming = self._resume and not self._has_loaded
        if resuming and self._load_from is None and not is_elsewhere(self.cfg):
            place = checkpoint_place(self.cfg, self.work_dir)
            newest = newest_whole(*place)
            for reason in newest.passed_over:
                self.logger.warning(f'Skipped: {reason}')
            if newest.path is None:
                self.logger.warning(f'Nothing to resume in {place.folder}: starting at 0')
                self._resume: bool = False
            else:
                self._load_from: str | None = str(newest.path)
        # The first process may have waited for another run to finish writing.
        chosen: list[Any] = [self._resume, self._load_from]
        broadcast_object_list(chosen)
        self._resume, self._load_from = chosen
        resuming = self._resume and not self._has_loaded
        super().load_or_resume()
        if resuming and self.iter >= self.max_iters:
            self.logger.warning(f'Nothing left to train: {self.iter} iterations are done')

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list = [(r'^module.', '')],  # noqa: B006 (mmengine's signature)
    ) -> dict:
        """Load weights as data, after the hooks have checked the file's content.

        Raises:
            CheckpointError: the file is missing, damaged, unsafe, or does not fit.
        """
        if '://' in filename and not filename.startswith(('http://', 'https://', 'hf://')):
            content = _load_checkpoint(filename, map_location='cpu')
        else:
            # On resuming, tensors such as the optimizer's are kept; weights are always copied.
            content = read_checkpoint(filename, mapped=not self._resuming)
        content = content if isinstance(content, dict) else {'state_dict': content}
        content, notices = as_data(content, checkpoint_place(self.cfg, self.work_dir).folder)
        for notice in notices:
            self.logger.warning(f'{filename}: {notice}')
        self.call_hook('after_load_checkpoint', checkpoint=content)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        content = _load_checkpoint_to_model(model, content, strict, revise_keys=revise_keys)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        self._loaded = content if self._resuming else {}
        return content

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Resume from a checkpoint, with the config's schedule.

        Raises:
            CheckpointError: the file cannot be used, or does not belong to a run of this config.
        """
        planned = PlannedSchedule(self) if PlannedSchedule.suits(self) else None
        self._resuming = True
        try:
            schedulers_too = resume_param_scheduler and planned is None
            super().resume(filename, resume_optimizer, schedulers_too, map_location)
            saved, meta = self._loaded.get('param_schedulers'), self._loaded['meta']
            if resume_optimizer:
                require_optimizer_state(self.optim_wrapper, filename)
                if is_sharded(self):  # torch keeps a second copy of this process's part here
                    self.optim_wrapper.optimizer.state.clear()
            notices = self._fit_to_epochs(meta) + self._find_random_state(self._loaded)
            if self.iter > self.max_iters or self.epoch > self.max_epochs:
                raise CheckpointError(
                    f'{filename}: expected at most the {self.max_iters} iterations of the config, '
                    f'got {self.iter}; train for longer, or use an earlier checkpoint'
                )
            if planned is not None and resume_param_scheduler and resume_optimizer:
                notices += planned.go_on(self, saved)
            elif planned is None and self.param_schedulers:
                notices.append(
                    "the checkpoint's schedule is used instead of the config's: there are several "
                    'optimizers, or schedulers that follow a metric'
                )
        except _MISFITS as error:
            raise CheckpointError(
                f'{filename}: expected the state of a run of this config, got another '
                f'({type(error).__name__}: {first_line(error)}); to load only its weights, give '
                '--cfg-options load_from=FILE'
            ) from error
        finally:
            self._resuming, self._loaded = False, {}
        self.message_hub.update_info('last_ckpt', filename)
        for notice in notices:
            self.logger.warning(f'Resuming: {notice}')

    def _fit_to_epochs(self, meta: dict) -> list[str]:
        """Convert the iteration to this run's epochs, which may have another number of batches."""
        loop = self.train_loop
        if not isinstance(loop, MMEngineEpochBasedTrainLoop):
            return []
        length, done = len(loop.dataloader), loop.epoch
        before = meta.get('epoch_length')
        if before is None and done and loop.iter % done == 0:
            before = loop.iter // done  # mmengine wrote it, which saves only after whole epochs
        if not before or before == length:
            return []
        within = min(max(loop.iter - done * before, 0), before)
        loop._iter = done * length + within * length // before
        return [
            f'an epoch has {length} batches, {before} in the checkpoint: continuing at iteration '
            f'{loop.iter}'
        ]

    def _find_random_state(self, content: dict) -> list[str]:
        states = content.get('random_states')
        if not isinstance(states, list) or len(states) != get_world_size():
            found = f'those of {len(states)}' if isinstance(states, list) else 'none'
            return [
                f'expected the random states of {get_world_size()} processes, found {found}; the '
                'results will not be exactly those of an uninterrupted run'
            ]
        self._resumed_random_state = states[get_rank()]
        set_random_state(self._resumed_random_state)  # raises an error if it is damaged
        return []

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write a checkpoint in mmengine's format, completely or not at all.

        Raises:
            CheckpointError: the file could not be written. Earlier files are unharmed.
            DivergenceError: the weights are not finite. Nothing is written.
        """
        # All processes call this: each has a part of a ZeroRedundancyOptimizer's state.
        optimizer = self.optim_wrapper.state_dict() if save_optimizer else None
        if not is_main_process():
            return
        content = self._state(optimizer, save_param_scheduler, dict(meta or {}), by_epoch)
        self.call_hook('before_save_checkpoint', checkpoint=content)
        if '://' in str(out_dir):
            save_checkpoint(content, f'{out_dir}/{filename}', file_client_args, backend_args)
            return
        path = Path(out_dir) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        check = partial(require_finite_run, content, path)
        if self.signals.handling:  # in a signal handler no thread can be started safely
            check()
            save_whole(content, path)
        else:
            save_whole(content, path, check=check)

    def _state(self, optimizer: dict | None, schedulers: bool, meta: dict, by_epoch: bool) -> dict:
        meta.setdefault('epoch', self.epoch + by_epoch)
        meta.setdefault('iter', self.iter + (not by_epoch))
        meta.update(
            cfg=self.cfg.pretty_text,
            seed=self.seed,
            experiment_name=self.experiment_name,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__,
        )
        if isinstance(self.train_loop, MMEngineEpochBasedTrainLoop):
            meta.update(epoch_length=len(self.train_dataloader))
        dataset = self.train_dataloader.dataset
        if hasattr(dataset, 'metainfo'):
            meta.update(dataset_meta=dataset.metainfo)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        content = {
            'meta': meta,
            'state_dict': weights_to_cpu(model.state_dict()),
            'message_hub': _on_cpu(self.message_hub.state_dict()),
        }
        if optimizer is not None:
            content['optimizer'] = _on_cpu(optimizer)
            content['random_states'] = self._random_states or None
        if schedulers and self.param_schedulers is not None:
            content['param_schedulers'] = _states(self.param_schedulers)
        return content


def _ours(config: Any) -> Any:
    """Replace mmengine's class in a config, or an instance of it, by this package's class."""
    kind: Any = config.get('type') if isinstance(config, dict) else None
    if getattr(kind, '__module__', '').startswith('mmengine.'):
        kind = kind.__name__
    name = kind.removeprefix('mmengine.') if isinstance(kind, str) else ''
    if name not in _REPLACED:
        return config
    changed = copy.copy(config)
    changed['type'] = f'mmconvnext.{name}'
    return changed


def _begin_worker(init: Callable | None, worker_id: int) -> None:
    leave_signals_to_the_run()
    if init is not None:
        init(worker_id)


def _states(schedulers: list | dict) -> list | dict:
    if isinstance(schedulers, dict):
        return {name: _states(some) for name, some in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers]


def _on_cpu(value: object) -> object:
    return apply_to(value, torch.is_tensor, Tensor.cpu)
