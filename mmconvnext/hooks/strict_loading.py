"""No checkpoint of a whole model is loaded in part."""

import logging
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor

from mmconvnext.checkpoints.classifier import (
    explain_misfit,
    is_classifier,
    with_official_classifier,
)
from mmconvnext.checkpoints.convert import fit_shape, other_model, with_official_backbone
from mmconvnext.checkpoints.load import require_finite, require_fit, require_readable
from mmconvnext.checkpoints.read import find_tensors
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class StrictLoadingHook(Hook):
    """Checks a checkpoint against the model before mmengine loads it.

    The tensors of its ConvNeXt get the official names first, so that mmseg's and mmdet's released
    models, whose backbone is mmpretrain's, load as well as the paper's and our own; a classifier's
    norm and head get them too, so that one loads of any family. mmengine loads
    with ``strict=False`` and only logs what does not fit, so that testing a model with another
    one's checkpoint ends in a bad score instead of an error.

    Args:
        heads: Whether all that is not in the ``backbone`` has to fit as well. Without it, a model
            for other classes starts from a checkpoint; what does not fit is then listed in the log.
        source: What a message calls the checkpoint.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape or not finite.
    """

    # Before EMAHook, which copies the checkpoint's state_dict into the averaged model as it is.
    priority = 'ABOVE_NORMAL'

    def __init__(self, heads: bool = True, source: str = 'the checkpoint') -> None:
        self.heads = heads
        self.source = source

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        target, state = model.state_dict(), self._find_state(checkpoint)
        require_readable(state, self.source)
        other = other_model(state)
        named = with_official_classifier if is_classifier(target) else with_official_backbone
        state = {
            key: fit_shape(value, target[key].shape) if key in target else value
            for key, value in named(state).items()
        }
        checkpoint['state_dict'] = state  # where mmengine looks first
        if not self.heads:
            _log_unfit_heads(target, state)
            target, state = _backbone_of(target), _backbone_of(state)
        cause = f'its keys look like {other}' if other else ''
        if is_classifier(target) and not cause:
            cause = explain_misfit(target, state)
        require_fit(target, state, source=self.source, target_name='the model', cause=cause)
        require_finite(state, self.source)

    def _find_state(self, checkpoint: dict) -> dict[str, Tensor]:
        # mmengine tests what it saved as `state_dict`, averaged or not.
        if isinstance(checkpoint, Mapping) and 'state_dict' in checkpoint:
            checkpoint = {'state_dict': checkpoint['state_dict']}
        return find_tensors(checkpoint, self.source).tensors


def _backbone_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith('backbone.')}


def _log_unfit_heads(target: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    unfit = [
        key
        for key, value in target.items()
        if not key.startswith('backbone.') and (key not in state or state[key].shape != value.shape)
    ]
    if unfit:
        print_log(
            f'{len(unfit)} tensors outside of the backbone start anew: {", ".join(unfit)}',
            logger='current',
            level=logging.WARNING,
        )
