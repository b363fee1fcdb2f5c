"""Models, metrics and transforms for mmdet."""

from mmconvnext.detection.coco_metric import CocoMetric
from mmconvnext.detection.detectors import CascadeRCNN, MaskRCNN
from mmconvnext.detection.mask_tta import MaskTTAModel

__all__ = ['CascadeRCNN', 'CocoMetric', 'MaskRCNN', 'MaskTTAModel']
