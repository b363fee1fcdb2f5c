"""What plugs into mmseg."""

from mmconvnext.segmentation.fcn_head import FCNHead
from mmconvnext.segmentation.iou_metric import IoUMetric
from mmconvnext.segmentation.pixel_loss import FastPixelLoss
from mmconvnext.segmentation.segmentor import EncoderDecoder
from mmconvnext.segmentation.tta import WholePictureTTAModel
from mmconvnext.segmentation.uper_head import UPerHead

__all__ = [
    'EncoderDecoder',
    'FCNHead',
    'FastPixelLoss',
    'IoUMetric',
    'UPerHead',
    'WholePictureTTAModel',
]
