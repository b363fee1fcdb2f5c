"""Load whole models strictly, never in part."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from mmconvnext.checkpoints.load import compare_whole
from mmconvnext.checkpoints.read import find_tested
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class StrictLoadingHook(Hook):
    """Checks that a checkpoint fits the model before mmengine loads it.

    mmengine loads with ``strict=False``, so that another model's checkpoint gives a bad score
    instead of an error. Here the ConvNeXt's tensors are first renamed to the official names, so
    that models of the paper, of this package, and of mmseg and mmdet (with mmpretrain's backbone)
    all load. A classifier's norm and head are renamed too, so that classifiers of any family load.

    Args:
        heads: Whether tensors outside the ``backbone`` must fit as well. False lets a model for
            other classes start from a checkpoint; the log lists the tensors that do not fit.
        source: Name of the checkpoint in messages.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape or not finite.
    """

    # Before EMAHook, which copies the checkpoint's state_dict into the averaged model unchanged.
    priority = 'ABOVE_NORMAL'

    def __init__(self, heads: bool = True, source: str = 'the checkpoint') -> None:
        self.heads = heads
        self.source = source

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        found = find_tested(checkpoint, self.source)
        report = compare_whole(model, found, self.source, called='the model', heads=self.heads)
        report.require_fit()
        checkpoint['state_dict'] = report.state  # the first key that mmengine looks up
        if unfit := [key for key in model.state_dict() if key not in report.state]:
            told = f'{len(unfit)} tensors outside the backbone are not loaded: {", ".join(unfit)}'
            print_log(told, logger='current', level=logging.WARNING)
