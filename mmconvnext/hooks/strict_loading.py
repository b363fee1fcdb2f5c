"""No checkpoint of a whole model is loaded in part."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper

from mmconvnext.checkpoints.convert import with_official_backbone
from mmconvnext.checkpoints.load import require_finite, require_fit
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class StrictLoadingHook(Hook):
    """Checks a checkpoint against the model before mmengine loads it.

    The tensors of its ConvNeXt get the official names first, so that mmseg's and mmdet's released
    models, whose backbone is mmpretrain's, load as well as the paper's and our own. mmengine loads
    with ``strict=False`` and only logs what does not fit, so that testing a model with another
    one's checkpoint ends in a bad score instead of an error.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape or not finite.
    """

    # After EMAHook, which puts the averaged weights into the checkpoint's state_dict.
    priority = 'VERY_LOW'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        state = checkpoint.get('state_dict', checkpoint)
        state = {key.removeprefix('module.'): value for key, value in state.items()}  # as mmengine
        state = with_official_backbone(state)
        if 'state_dict' in checkpoint:
            checkpoint['state_dict'] = state
        require_fit(model.state_dict(), state, source='the checkpoint', target_name='the model')
        require_finite(state, 'the checkpoint')
