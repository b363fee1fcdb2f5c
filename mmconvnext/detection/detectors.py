"""Detectors whose neck gets its input channels from the backbone."""

from mmdet.models.detectors import CascadeRCNN as PlainCascadeRCNN
from mmdet.models.detectors import MaskRCNN as PlainMaskRCNN
from mmdet.registry import MODELS as MMDET_MODELS
from torch import nn

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import MODELS


@MODELS.register_module()
class MaskRCNN(PlainMaskRCNN):
    """mmdet's MaskRCNN, with the same parameters, names and keyword arguments.

    If the neck's ``in_channels`` is None or missing, it gets the backbone's channels. So one config
    entry changes the backbone: ``--cfg-options model.backbone.arch=atto``.

    Raises:
        ArgumentError: ``in_channels`` is missing, and the backbone has no ``out_channels``.
    """

    def __init__(self, backbone: dict, *args: object, neck: dict | None = None, **kwargs) -> None:
        super().__init__(backbone, *args, neck=None, **kwargs)
        _add_neck(self, neck)


@MODELS.register_module()
class CascadeRCNN(PlainCascadeRCNN):
    """mmdet's CascadeRCNN, with a neck as in :class:`MaskRCNN`."""

    def __init__(self, backbone: dict, *args: object, neck: dict | None = None, **kwargs) -> None:
        super().__init__(backbone, *args, neck=None, **kwargs)
        _add_neck(self, neck)


def _add_neck(detector: nn.Module, neck: dict | None) -> None:
    if neck is None:
        return
    if neck.get('in_channels') is None:
        channels = getattr(detector.backbone, 'out_channels', None)
        if not isinstance(channels, tuple):
            raise ArgumentError(
                'neck: expected in_channels, got None; set them: '
                f'{type(detector.backbone).__name__} has no out_channels'
            )
        neck = {**neck, 'in_channels': list(channels)}
    detector.neck = MMDET_MODELS.build(neck)
    # As in mmdet, the heads come after the neck, also in the optimizer's state.
    for name in [one for one in detector._modules if one.endswith('_head')]:
        detector._modules[name] = detector._modules.pop(name)
