"""Training loops that resume at any iteration."""

from typing import Any

from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from mmconvnext.registry import LOOPS
from mmconvnext.runner.training_data import TrainingLoader


def _training_loader(runner: Any, loader: DataLoader | dict) -> DataLoader:
    """Return the loader, built if it is a config, as a :class:`.TrainingLoader` if possible."""
    apart = runner._randomness_cfg.get('diff_rank_seed', False)
    built: DataLoader = runner.build_dataloader(loader, seed=runner.seed, diff_rank_seed=apart)
    return TrainingLoader(built, runner.seed, apart) if TrainingLoader.suits(built) else built


@LOOPS.register_module()
class IterBasedTrainLoop(MMEngineIterBasedTrainLoop):
    """mmengine's IterBasedTrainLoop, which resumes without reading the earlier images again."""

    def __init__(self, runner: Any, dataloader: DataLoader | dict, *args: Any, **options: Any):
        super().__init__(runner, _training_loader(runner, dataloader), *args, **options)

    def run(self) -> nn.Module:
        if not isinstance(self.dataloader, TrainingLoader):
            return super().run()
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self.dataloader.begin(runner.seed, epoch=0, passed=self._iter)
        self.dataloader_iterator = self.dataloader.without_end()
        runner.restore_random_state()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if self._evaluates():
                runner.val_loop.run()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def _evaluates(self) -> bool:
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return self.runner.val_loop is not None and self._iter >= self.val_begin and due


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEngineEpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop, which can also resume in the middle of an epoch.

    mmengine restarts such an epoch, so that schedulers and other iteration counters are ahead from
    then on.
    """

    def __init__(self, runner: Any, dataloader: DataLoader | dict, *args: Any, **options: Any):
        super().__init__(runner, _training_loader(runner, dataloader), *args, **options)

    def run_epoch(self) -> None:
        runner, done = self.runner, max(0, self._iter - self._epoch * len(self.dataloader))
        runner.call_hook('before_train_epoch')
        runner.model.train()
        if isinstance(self.dataloader, TrainingLoader):
            self.dataloader.begin(runner.seed, self._epoch, passed=done)
            runner.restore_random_state()
            for idx, batch in enumerate(self.dataloader, done):
                self.run_iter(idx, batch)
        else:
            for idx, batch in enumerate(self.dataloader):
                if idx >= done:
                    self.run_iter(idx, batch)
        runner.call_hook('after_train_epoch')
        self._epoch += 1
