"""ConvNeXt for OpenMMLab.

Importing this package registers everything that needs neither mmdet nor mmseg.
"""

import sys

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    message = (
        'mmconvnext: expected OpenMMLab beside it, found no mmengine; '
        'pip install "mmconvnext[openmmlab]" (or, for the maintained forks, [onedl])'
    )
    if sys.argv[:1] == ['-m']:  # `python -m mmconvnext` reports a missing package in one line
        sys.exit(f'error: {message} ({error})')
    raise ModuleNotFoundError(message) from error

from mmconvnext import compat

compat.apply()

from mmconvnext.backbones import ConvNeXt  # noqa: E402
from mmconvnext.checkpoints.pretrained import list_models  # noqa: E402
from mmconvnext.hooks import (  # noqa: E402
    DetectionPictureHook,
    LayerLearningRatesHook,
    SegmentationPictureHook,
)
from mmconvnext.optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from mmconvnext.registry import MODELS  # noqa: E402
from mmconvnext.version import __version__  # noqa: E402

__all__ = [
    'ConvNeXt',
    'DetectionPictureHook',
    'LayerDecayOptimWrapperConstructor',
    'LayerLearningRatesHook',
    'SegmentationPictureHook',
    '__version__',
    'list_models',
]


def __getattr__(name: str) -> type:
    if name == 'RoadmapNet':  # imported on demand, for the registry: the package imports no study
        return MODELS.get(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
