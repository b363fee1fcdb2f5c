"""No checkpoint of a whole model is loaded in part."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper

from mmconvnext.checkpoints.load import compare_whole
from mmconvnext.checkpoints.read import find_tested
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class StrictLoadingHook(Hook):
    """Checks a checkpoint against the model before mmengine loads it.

    The tensors of its ConvNeXt get the official names first, so that mmseg's and mmdet's released
    models, whose backbone is mmpretrain's, load as well as the paper's and our own; a classifier's
    norm and head get them too, so that one loads of any family. mmengine loads with
    ``strict=False``: testing with another model's checkpoint ends in a bad score, not an error.

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
        found = find_tested(checkpoint, self.source)
        report = compare_whole(model, found, self.source, called='the model', heads=self.heads)
        report.require_fit()
        checkpoint['state_dict'] = report.state  # where mmengine looks first
        if unfit := [key for key in model.state_dict() if key not in report.state]:
            told = f'{len(unfit)} tensors outside of the backbone start anew: {", ".join(unfit)}'
            print_log(told, logger='current', level=logging.WARNING)
