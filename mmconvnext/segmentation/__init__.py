"""Models, heads and metrics for mmseg."""

from mmconvnext.segmentation.heads import FCNHead, UPerHead
from mmconvnext.segmentation.iou_metric import IoUMetric
from mmconvnext.segmentation.pixel_loss import FastPixelLoss
from mmconvnext.segmentation.segmentor import EncoderDecoder
from mmconvnext.segmentation.tta import WholePictureTTAModel

__all__ = [
    'EncoderDecoder',
    'FCNHead',
    'FastPixelLoss',
    'IoUMetric',
    'UPerHead',
    'WholePictureTTAModel',
]
