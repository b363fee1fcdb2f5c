"""ConvNeXt for OpenMMLab. Importing it registers everything that needs neither mmdet nor mmseg."""

from mmconvnext import compat

compat.apply()

from mmconvnext.backbones import ConvNeXt  # noqa: E402
from mmconvnext.hooks import LayerLearningRatesHook, SegmentationPictureHook  # noqa: E402
from mmconvnext.optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from mmconvnext.version import __version__  # noqa: E402

__all__ = [
    'ConvNeXt',
    'LayerDecayOptimWrapperConstructor',
    'LayerLearningRatesHook',
    'SegmentationPictureHook',
    '__version__',
]
