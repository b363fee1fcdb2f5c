"""Hooks of the training and the test loop."""

from mmconvnext.hooks.segmentation_pictures import SegmentationPictureHook
from mmconvnext.hooks.stem_learning_rate import StemLearningRateHook
from mmconvnext.hooks.strict_loading import StrictLoadingHook

__all__ = ['SegmentationPictureHook', 'StemLearningRateHook', 'StrictLoadingHook']
