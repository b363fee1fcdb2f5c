"""Cross entropy and accuracy at the size of the labels, some whole images at a time: for a GPU.

The parts of ``pixel_loss.py`` are for a CPU's cache. Here few kernels count, and passes over the
logits at full size: they are resized, and their softmax becomes the gradient in place. Nothing
waits for the device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_BYTES = 3 << 29  # of resized logits that are held at once, twice


def whole_loss(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int, needs_gradient: bool
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """As :func:`mmconvnext.segmentation.pixel_loss.loss_in_bands`, by several images a part."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    step = max(_BYTES // (logits.shape[1] * labels[0].numel() * dtype.itemsize), 1)
    parts = [
        _images(some.to(dtype), of_some, align_corners, ignore_index, needs_gradient)
        for some, of_some in zip(logits.split(step), labels.unsqueeze(1).split(step))
    ]
    sums = [of_some for of_some, _ in parts]
    gradients = [gradient for _, gradient in parts if gradient is not None]
    if len(gradients) > 1:
        return sums, torch.cat(gradients)
    return sums, gradients[0] if gradients else None


def _images(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int, needs_gradient: bool
) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    """Of logits (n, C, h, w) in float32 or more, and labels (n, 1, H, W)."""
    size, counted = labels.shape[2:], labels != ignore_index
    labels = labels.where(counted, 0)
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
