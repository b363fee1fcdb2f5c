"""Training loops."""

from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop

from mmconvnext.registry import LOOPS


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEngineEpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop, which can also resume in the middle of an epoch.

    mmengine restarts such an epoch, so that schedulers and other iteration counters are ahead from
    then on.
    """

    def run_epoch(self) -> None:
        done = self._iter - self._epoch * len(self.dataloader)
        if done <= 0:
            super().run_epoch()
            return
        self.runner.logger.info(f'Epoch {self._epoch + 1}: skipping {done} batches')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader):
            if idx >= done:
                self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
