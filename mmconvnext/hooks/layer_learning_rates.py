"""The learning rates a person wants to see when layers have different ones."""

from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class LayerLearningRatesHook(Hook):
    """Logs ``base_lr``, the heads' learning rate, and ``stem_lr``, the smallest one.

    mmengine logs ``lr``, that of group 0, which with mmdet's and mmseg's layer decay is the
    stem's, several times smaller than the one in the config; and a ``base_lr`` of its own, which
    ``auto_scale_lr`` leaves out and which is replaced here. Groups without ``lr_scale``, those of
    other constructors, are not logged.
    """

    # After RuntimeInfoHook, whose `base_lr` it replaces.
    priority = 'HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        groups = runner.optim_wrapper.param_groups
        groups = [one for one in groups if 'lr_scale' in one and one.get('lr_mult') != 0]
        if groups:
            head, stem = (pick(groups, key=lambda group: group['lr_scale']) for pick in (max, min))
            base = head['lr'] / head['lr_scale'] / head.get('lr_mult', 1.0)
            runner.message_hub.update_scalar('train/base_lr', base)
            runner.message_hub.update_scalar('train/stem_lr', stem['lr'])
