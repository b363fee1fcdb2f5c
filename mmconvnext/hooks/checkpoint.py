"""Write complete checkpoints before the checkpoints that they replace are removed."""

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.optim import OptimWrapper, ZeroRedundancyOptimizer
from mmengine.runner import Runner

from mmconvnext.checkpoints.of_a_run import EVALUATED, LAST, OVERWRITTEN, TEMPLATES, step_of
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.training_state import finite_number, is_count
from mmconvnext.checkpoints.whole import remove_partial, write_text_whole
from mmconvnext.errors import CheckpointError
from mmconvnext.hooks.outcome import shared_outcome
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's CheckpointHook, changed so that a run always has a complete checkpoint.

    It has the same options. The differences are:

    - An old checkpoint, also an old best one, is removed after the new one is complete.
    - ``last_checkpoint`` contains a name relative to the work dir, so that the folder may be moved.
    - The best checkpoint is found from the files, not from paths in a checkpoint. Files are removed
      only in the hook's folder, and only checkpoints and partial files with names of this hook.
    - If the first process cannot write, all processes end.
    - A new best checkpoint does not cause the last checkpoint to be written again.
    - Between two updates of accumulated gradients, a checkpoint waits for the next update.

    It needs :class:`.Runner`. For a remote folder (``s3://…``) it behaves like mmengine's
    hook.
    """

    def before_train(self, runner: Runner) -> None:
        self._elsewhere = '://' in str(self.out_dir or runner.work_dir)
        self._written_at = -1  # training iterations of the last checkpoint
        self._mid_epoch: str | None = None
        self._together = True  # whether all processes save at the same time
        self._waiting: tuple[int, int] | None = None  # a step and an epoch to be saved
        if self._elsewhere:
            super().before_train(runner)
            return
        info = runner.message_hub.runtime_info
        steps = info.get('keep_ckpt_ids') if self.max_keep_ckpts > 0 else None
        steps = [s for s in steps if is_count(s)] if isinstance(steps, list) else []
        # mmengine removes the files named here; this hook finds the files itself.
        removes = ('keep_ckpt_ids', 'best_ckpt', 'best_score')
        for name in [n for n in info if n.startswith(removes)]:
            runner.message_hub.pop_info(name)
        super().before_train(runner)
        self.folder = Path(self.out_dir)
        self.keep_ckpt_ids = steps
        if is_main_process():
            for path in remove_partial(self.folder):
                runner.logger.warning(f'Removed {path}, an unfinished file of an earlier run')
        self._find_best(runner)
        interrupted = info.get('mid_epoch_ckpt')
        if isinstance(interrupted, str) and step_of(interrupted) is not None:
            self._mid_epoch = interrupted

    def _find_best(self, runner: Runner) -> None:
        """Find the best checkpoints from the files, even if their iterations are repeated."""
        for indicator in self.key_indicators if self.save_best else []:
            found = [self._newest_best(indicator) if runner.iter else None]
            broadcast_object_list(found)  # other machines may not have the files
            if found[0] is not None:
                self._set_best(runner, indicator, *found[0])

    def _newest_best(self, indicator: str) -> tuple[Path, float] | None:
        """Return an indicator's newest best checkpoint, which is the best, and its score."""
        found: dict[int, tuple[Path, float]] = {}
        for path in self.folder.glob('best_*'):
            if not self._is_best(path.name, indicator):
                continue
            try:
                content: Any = read_checkpoint(str(path), 'meta')
                info = content['message_hub']['runtime_info']
                score = finite_number(info[self._key('best_score', indicator)])
                seen = content['meta']['iter']
            except (CheckpointError, KeyError, TypeError):
                continue
            if score is not None and is_count(seen):
                found.setdefault(seen, (path, score))
        return found[max(found)] if found else None

    def _is_best(self, name: str, indicator: str) -> bool:
        if indicator == 'auto':  # the metric is not known
            return _is_of_a_best(name, (self.filename_tmpl,))
        beginning = f'best_{indicator.replace("/", "_")}_'
        step = step_of(name[len(beginning) :], (self.filename_tmpl,))
        return name.startswith(beginning) and step is not None

    def _key(self, name: str, indicator: str) -> str:
        """Return mmengine's key of ``best_score`` or ``best_ckpt`` for an indicator."""
        return name if len(self.key_indicators) == 1 else f'{name}_{indicator}'

    def _set_best(self, runner: Runner, indicator: str, path: Path, score: float) -> None:
        runner.message_hub.update_info(self._key('best_score', indicator), score)
        runner.message_hub.update_info(self._key('best_ckpt', indicator), str(path))
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = str(path)
        else:
            self.best_ckpt_path_dict[indicator] = str(path)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.by_epoch:
            interval = self.every_n_train_iters(runner, self.interval, self.save_begin)
            if interval or (self.save_last and self.is_last_train_iter(runner)):
                self._waiting = (runner.iter + 1, runner.epoch)
        self._save_waiting(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        if not self.by_epoch:
            return
        interval = self.every_n_epochs(runner, self.interval, self.save_begin)
        if interval or (self.save_last and self.is_last_train_epoch(runner)):
            self._waiting = (runner.epoch + 1, runner.epoch + 1)
            self._save_waiting(runner, runner.iter)

    def _save_waiting(self, runner: Runner, done: int) -> None:
        if self._waiting is None or not is_updated(runner):
            return
        (step, epoch), self._waiting = self._waiting, None
        step = step if self.by_epoch else done
        unit = 'epochs' if self.by_epoch else 'iterations'
        runner.logger.info(f'Saving checkpoint at {step} {unit}')
        self._save_checkpoint_with_step(runner, step, dict(epoch=epoch, iter=done))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if self._elsewhere:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [s for s in self.keep_ckpt_ids if s != step] + [step]
            outdated = kept[: -self.max_keep_ckpts]
            # The new checkpoint still lists the old ones: if the run is killed now and resumed
            # from it, they are removed then.
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids = kept[-self.max_keep_ckpts :]
        self._write(runner, self.filename_tmpl.format(step), meta)
        for old in outdated:
            self._remove(self.filename_tmpl.format(old))
        if outdated:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        path = str(self.folder / name)
        before = runner.message_hub.runtime_info.get('last_ckpt')
        runner.message_hub.update_info('last_ckpt', path)
        try:
            with shared_outcome(together=self._together):
                self._save(runner, name, meta, whole_run=True)
                if is_main_process():
                    place = os.path.relpath(path, runner.work_dir)
                    write_text_whole(f'{place}\n', Path(runner.work_dir) / LAST)
                self._remove_replaced(runner, name)
        except Exception:
            runner.message_hub.update_info('last_ckpt', before)
            raise
        self.last_ckpt = path
        self._written_at = meta['iter']

    def _save(self, runner: Any, name: str, meta: dict, whole_run: bool) -> None:
        gathered = whole_run and self._together
        with runner.random_states_gathered() if gathered else nullcontext():
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer and whole_run,
                save_param_scheduler=self.save_param_scheduler and whole_run,
                meta=dict(meta),
                by_epoch=self.by_epoch and whole_run,
                backend_args=self.backend_args,
                **(self.args if whole_run else {}),
            )

    def _remove_replaced(self, runner: Runner, name: str) -> None:
        """Remove checkpoints that a complete one replaces: mid-epoch ones, another run's."""
        if self._mid_epoch not in (None, name):
            self._remove(self._mid_epoch)
            self._mid_epoch = None
            runner.message_hub.update_info('mid_epoch_ckpt', None)
        old = self.folder / OVERWRITTEN
        if is_main_process() and old.is_dir() and not old.is_symlink():
            for path in old.iterdir():
                if path.name in (LAST, EVALUATED) or self._is_ours(path.name):
                    path.unlink()
            if not any(old.iterdir()):
                old.rmdir()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        if self._elsewhere:
            super()._save_best_checkpoint(runner, metrics)
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        for indicator, rule in zip(self.key_indicators, self.rules):
            info, key = runner.message_hub.runtime_info, self._key('best_score', indicator)
            best = info.get(key, self.init_value_map[rule])
            score = finite_number(metrics.get(indicator))
            if score is not None and self.is_better_than[indicator](score, best):
                self._replace_best(runner, indicator, score)

    def _replace_best(self, runner: Runner, indicator: str, score: float) -> None:
        unit, done = ('epoch', runner.epoch) if self.by_epoch else ('iter', runner.iter)
        name = f'best_{indicator}_{self.filename_tmpl.format(done)}'.replace('/', '_')
        self._set_best(runner, indicator, self.folder / name, score)
        with shared_outcome():
            self._save(runner, name, dict(epoch=runner.epoch, iter=runner.iter), whole_run=False)
        runner.logger.info(
            f'The best checkpoint with {score:0.4f} {indicator} at {done} {unit} is saved to {name}'
        )
        for path in list(self.folder.glob('best_*')):
            if path.name != name and self._is_best(path.name, indicator):
                self._remove(path.name)

    def save_state(self, runner: Runner, done: int, *, together: bool = True) -> str:
        """Write the state of the run after ``done`` iterations, unless it is on disk already.

        ``together`` means that all processes call this now. Returns the checkpoint's path.

        Raises:
            UserError: the state could not be written, or contains NaN or infinity.
        """
        if self._written_at != done:
            self._together = together
            try:
                self._write_state(runner, done)
            finally:
                self._together = True
        return self.last_ckpt

    def _write_state(self, runner: Runner, done: int) -> None:
        meta = dict(epoch=runner.epoch, iter=done)
        if self._elsewhere:
            name = TEMPLATES[0].format(done)
            self._save(runner, name, meta, whole_run=True)
            self.last_ckpt, self._written_at = f'{self.out_dir}/{name}', done
        elif not self.by_epoch:
            self._save_checkpoint_with_step(runner, done, meta)
        elif runner.epoch and done == runner.epoch * len(runner.train_dataloader):
            self._save_checkpoint_with_step(runner, runner.epoch, meta)
        else:
            name = TEMPLATES[0].format(done)
            runner.message_hub.update_info('mid_epoch_ckpt', name)
            before, self._mid_epoch = self._mid_epoch, name
            self._write(runner, name, meta)
            if before not in (None, name):
                self._remove(before)

    def _remove(self, name: str) -> None:
        path = self.folder / name
        if is_main_process() and self._is_ours(name) and path.is_file() and not path.is_symlink():
            path.unlink()

    def _is_ours(self, name: str) -> bool:
        """Return whether a name is one of this hook's, without a folder in it."""
        templates = (self.filename_tmpl, *TEMPLATES)
        known = step_of(name, templates) is not None or _is_of_a_best(name, templates)
        return known and Path(name).name == name


def is_updated(runner: Runner) -> bool:
    """Whether all gradients are in the weights: none is accumulated for the next update."""
    wrapper = runner.optim_wrapper
    return wrapper.should_update() if isinstance(wrapper, OptimWrapper) else True


def is_sharded(runner: Runner) -> bool:
    """Whether each process has a part of the optimizer's state, so that none can save it alone."""
    return isinstance(getattr(runner.optim_wrapper, 'optimizer', None), ZeroRedundancyOptimizer)


def _is_of_a_best(name: str, templates: Sequence[str]) -> bool:
    """Return whether a name is like best_METRIC_iter_400.pth; METRIC may have underscores."""
    endings = (name[found.end() :] for found in re.finditer('_', name))
    return name.startswith('best_') and any(step_of(e, templates) is not None for e in endings)
