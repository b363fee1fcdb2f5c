"""Class weights where pixels are ignored: mmseg ends in an IndexError."""

import functools

from mmseg.models.losses import cross_entropy_loss
from torch import Tensor
from torch.nn import functional as F


def ignore_pixels_in_class_weights() -> None:
    """Let mmseg's softmax cross entropy take ``class_weight`` where pixels are ignored.

    To average, mmseg looks up the weight of every pixel's label, also of the ignored label, which
    has none (``index 255 is out of bounds``). Here ignored pixels have weight 0, as in torch's
    F.cross_entropy. Nothing changes where the ignored label is a class. This applies to losses
    that are built later in this process; safe to call again.
    """
    plain = cross_entropy_loss.cross_entropy
    if hasattr(plain, '__wrapped__'):
        return

    @functools.wraps(plain)
    def cross_entropy(
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        class_weight: Tensor | None = None,
        reduction: str = 'mean',
        avg_factor: Tensor | float | None = None,
        ignore_index: int = -100,
        avg_non_ignore: bool = False,
    ) -> Tensor:
        averages = reduction == 'mean' and avg_factor is None
        if averages and class_weight is not None and not 0 <= ignore_index < len(class_weight):
            weights = F.pad(class_weight, (0, 1))  # the last one for ignored pixels
            avg_factor = weights[label.where(label != ignore_index, len(class_weight))].sum()
        return plain(
            *(pred, label, weight, class_weight, reduction, avg_factor, ignore_index),
            avg_non_ignore=avg_non_ignore,
        )

    cross_entropy_loss.cross_entropy = cross_entropy
