"""Hooks of the training and the test loop."""

from mmconvnext.hooks.checkpoint import CheckpointHook
from mmconvnext.hooks.deploy import DeployHook
from mmconvnext.hooks.detection_pictures import DetectionPictureHook
from mmconvnext.hooks.interruption import InterruptionHook
from mmconvnext.hooks.layer_learning_rates import LayerLearningRatesHook
from mmconvnext.hooks.segmentation_pictures import SegmentationPictureHook
from mmconvnext.hooks.step_watch import StepWatchHook
from mmconvnext.hooks.strict_loading import StrictLoadingHook

__all__ = [
    'CheckpointHook',
    'DeployHook',
    'DetectionPictureHook',
    'InterruptionHook',
    'LayerLearningRatesHook',
    'SegmentationPictureHook',
    'StepWatchHook',
    'StrictLoadingHook',
]
