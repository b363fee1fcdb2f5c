"""Mask R-CNN whose neck gets its input channels from the backbone."""

from mmdet.models.detectors import MaskRCNN as PlainMaskRCNN
from mmdet.registry import MODELS as MMDET_MODELS

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import MODELS


@MODELS.register_module()
class MaskRCNN(PlainMaskRCNN):
    """mmdet's MaskRCNN, with the same parameters, names and keyword arguments.

    If the neck's ``in_channels`` is None or missing, it gets the backbone's channels. So one config
    entry changes the backbone: ``--cfg-options model.backbone.step=kernel_5``.

    Raises:
        ArgumentError: ``in_channels`` is missing, and the backbone has no ``out_channels``.
    """

    def __init__(self, backbone: dict, *args: object, neck: dict | None = None, **kwargs) -> None:
        super().__init__(backbone, *args, neck=None, **kwargs)
        if neck is None:
            return
        if neck.get('in_channels') is None:
            if not isinstance(getattr(self.backbone, 'out_channels', None), tuple):
                raise ArgumentError(
                    'neck: expected in_channels, got None; set them: '
                    f'{type(self.backbone).__name__} has no out_channels'
                )
            neck = {**neck, 'in_channels': list(self.backbone.out_channels)}
        self.neck = MMDET_MODELS.build(neck)
