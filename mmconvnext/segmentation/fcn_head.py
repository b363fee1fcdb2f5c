"""FCNHead with the fast loss."""

from mmseg.models.decode_heads import FCNHead as PlainFCNHead

from mmconvnext.registry import MODELS
from mmconvnext.segmentation.pixel_loss import FastPixelLoss


@MODELS.register_module()
class FCNHead(FastPixelLoss, PlainFCNHead):
    """mmseg's FCNHead, the same arguments, parameters and names, with :class:`FastPixelLoss`.

    Args:
        fast: False computes the loss as mmseg does.
        kwargs: As for mmseg's FCNHead.
    """

    def __init__(self, fast: bool = True, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.fast = fast
