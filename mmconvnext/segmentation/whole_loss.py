"""Cross entropy and accuracy at the size of the labels, some whole pictures at a time: for a GPU.

The parts of ``pixel_loss.py`` are for a CPU's cache. Here few kernels count, and passes over the
logits at full size: they are resized, and their softmax becomes the gradient in place. Nothing
waits for the device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Resized logits that are held at once, twice.
_BYTES = 3 << 29


def whole_loss(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int, needs_gradient: bool
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """As :func:`mmconvnext.segmentation.pixel_loss.loss_in_bands`, by several pictures a part."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    step = max(_BYTES // (logits.shape[1] * labels[0].numel() * dtype.itemsize), 1)
    sums, gradients = [], []
    for some, labels_of in zip(logits.split(step), labels.unsqueeze(1).split(step)):
        counted = labels_of != ignore_index
        of_some, gradient = _pictures(
            some.to(dtype), labels_of.where(counted, 0), counted, align_corners, needs_gradient
        )
        sums.append(of_some)
        if gradient is not None:
            gradients.append(gradient)
    if not needs_gradient:
        return sums, None
    return sums, torch.cat(gradients) if len(gradients) > 1 else gradients[0]


def _pictures(
    logits: Tensor, labels: Tensor, counted: Tensor, align_corners: bool, needs_gradient: bool
) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    """Of logits (n, C, h, w) in float32 or more, and labels (n, 1, H, W)."""
    size = labels.shape[2:]
    wide = F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
    shares = wide.softmax(1)
    share, place = shares.max(1, keepdim=True)
    of_label, largest = wide.gather(1, torch.cat([labels, place], 1)).split(1, dim=1)
    # The largest share is at least 1 / C and has an exact logarithm; a label's may be 0.
    losses = largest - share.log() - of_label
    correct = (of_label >= largest) & counted
    sums = losses.where(counted, 0).sum(), correct.sum()
    if not needs_gradient:
        return sums, None
    del wide
    # The gradient takes the place of the shares.
    shares.scatter_add_(1, labels, shares.new_full((), -1).expand_as(labels)).mul_(counted)
    return sums, torch.ops.aten.upsample_bilinear2d_backward(
        shares, size, logits.shape, align_corners
    )
