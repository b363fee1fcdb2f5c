"""Hooks for training and testing."""

from mmconvnext.hooks.checkpoint import CheckpointHook
from mmconvnext.hooks.deploy import DeployHook
from mmconvnext.hooks.interruption import InterruptionHook
from mmconvnext.hooks.layer_learning_rates import LayerLearningRatesHook
from mmconvnext.hooks.pictures import DetectionPictureHook, SegmentationPictureHook
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
