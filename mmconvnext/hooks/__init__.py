"""Hooks of the training and the test loop."""

from mmconvnext.hooks.deploy import DeployHook
from mmconvnext.hooks.detection_pictures import DetectionPictureHook
from mmconvnext.hooks.layer_learning_rates import LayerLearningRatesHook
from mmconvnext.hooks.segmentation_pictures import SegmentationPictureHook
from mmconvnext.hooks.strict_loading import StrictLoadingHook

__all__ = [
    'DeployHook',
    'DetectionPictureHook',
    'LayerLearningRatesHook',
    'SegmentationPictureHook',
    'StrictLoadingHook',
]
