"""Models, metrics and transforms for mmdet."""

from mmconvnext.detection.coco_metric import CocoMetric
from mmconvnext.detection.mask_rcnn import MaskRCNN
from mmconvnext.detection.mask_tta import MaskTTAModel

__all__ = ['CocoMetric', 'MaskRCNN', 'MaskTTAModel']
