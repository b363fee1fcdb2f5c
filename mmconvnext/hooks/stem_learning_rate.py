"""The learning rate of the stem, beside the base one."""

from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class StemLearningRateHook(Hook):
    """Logs ``stem_lr``, the smallest learning rate under layer decay.

    mmengine logs ``base_lr``, which is the heads', and ``lr``, which is that of group 0: with
    mmdet's and mmseg's layer decay the stem's, several times smaller than the one in the config
    and named as if it were the only one; with ours the heads'. Groups without ``lr_scale``, those
    of other constructors, are not logged.
    """

    # After RuntimeInfoHook, so that the scalar stands behind `lr` in a line of the log.
    priority = 'HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        groups = [group for group in runner.optim_wrapper.param_groups if 'lr_scale' in group]
        if groups:
            stem = min(groups, key=lambda group: group['lr_scale'])
            runner.message_hub.update_scalar('train/stem_lr', stem['lr'])
