"""Multi-scale and flip testing as the paper did it."""

from mmengine.config import ConfigDict
from mmseg.models.segmentors import SegTTAModel

from mmconvnext.registry import MODELS


@MODELS.register_module()
class WholePictureTTAModel(SegTTAModel):
    """mmseg's test-time augmentation, run on whole pictures.

    mmseg keeps the ``slide`` mode of the model's ``test_cfg`` under augmentation; the published
    multi-scale results are of whole pictures (facebookresearch/ConvNeXt @048efce,
    semantic_segmentation/configs/convnext/*_ms.py, which have no slide in ``test_cfg``).
    """

    def __init__(self, module: dict, **kwargs: object) -> None:
        module = ConfigDict(module)
        module.test_cfg = ConfigDict(mode='whole')
        super().__init__(module=module, **kwargs)
