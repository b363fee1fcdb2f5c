"""Image classification with mmengine alone: model, dataset, transforms, metric."""

from mmconvnext.classification.classifier import ImageClassifier
from mmconvnext.classification.dataset import ImageFolder
from mmconvnext.classification.metric import TopKAccuracy
from mmconvnext.classification.timm_augmentation import TimmRandAugment, TimmRandomErasing
from mmconvnext.classification.transforms import EvaluationCrop, PackImage, RandomResizedCrop

__all__ = [
    'EvaluationCrop',
    'ImageClassifier',
    'ImageFolder',
    'PackImage',
    'RandomResizedCrop',
    'TimmRandAugment',
    'TimmRandomErasing',
    'TopKAccuracy',
]
