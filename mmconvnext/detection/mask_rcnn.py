"""Mask R-CNN whose neck asks the backbone for its channels."""

from mmdet.models.detectors import MaskRCNN as PlainMaskRCNN
from mmdet.registry import MODELS as MMDET_MODELS

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import MODELS


@MODELS.register_module()
class MaskRCNN(PlainMaskRCNN):
    """mmdet's MaskRCNN, the same parameters and names, and the same arguments by name.

    A neck whose ``in_channels`` is None or left out gets the backbone's, so that another backbone
    is one entry of a config: ``--cfg-options model.backbone.step=kernel_5``.

    Raises:
        ArgumentError: ``in_channels`` is not given, and the backbone does not tell it.
    """

    def __init__(self, backbone: dict, *args: object, neck: dict | None = None, **kwargs) -> None:
        super().__init__(backbone, *args, neck=None, **kwargs)
        if neck is None:
            return
        if neck.get('in_channels') is None:
            if not isinstance(getattr(self.backbone, 'out_channels', None), tuple):
                raise ArgumentError(
                    'neck: expected in_channels, got None; only a backbone of mmconvnext tells '
                    f'what it gives, {type(self.backbone).__name__} does not'
                )
            neck = {**neck, 'in_channels': list(self.backbone.out_channels)}
        self.neck = MMDET_MODELS.build(neck)
