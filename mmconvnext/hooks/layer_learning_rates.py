"""Log the learning rates of heads and stem."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class LayerLearningRatesHook(Hook):
    """Logs ``base_lr``, the heads' learning rate, and ``stem_lr``, the smallest learning rate.

    mmengine logs ``lr``, the rate of group 0. With mmdet's and mmseg's layer decay this is the
    stem's rate, several times smaller than the rate in the config. mmengine's own ``base_lr``
    ignores ``auto_scale_lr``; this hook replaces it. Groups without ``lr_scale``, from other
    constructors, are not logged.
    """

    # After RuntimeInfoHook, whose `base_lr` this hook replaces.
    priority = 'HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        groups = runner.optim_wrapper.param_groups
        groups = [one for one in groups if 'lr_scale' in one and one.get('lr_mult') != 0]
        if groups:
            head, stem = (pick(groups, key=lambda group: group['lr_scale']) for pick in (max, min))
            base = head['lr'] / head['lr_scale'] / head.get('lr_mult', 1.0)
            runner.message_hub.update_scalar('train/base_lr', base)
            runner.message_hub.update_scalar('train/stem_lr', stem['lr'])
