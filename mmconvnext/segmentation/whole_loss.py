"""Cross entropy and accuracy at the size of the labels, some images at a time, for GPUs.

The parts of ``pixel_loss.py`` are for a CPU's cache. Here there are few kernels and few passes over
the full-size logits: they are resized, and their softmax becomes the gradient in place. Nothing
waits for the device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_BYTES = 3 << 29  # resized logits in memory at a time, including a copy


def whole_loss(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int, needs_gradient: bool
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """Like :func:`mmconvnext.segmentation.pixel_loss.loss_in_bands`, several images at a time."""
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
    """Compute loss and gradient of logits (n, C, h, w) in float32 or more, labels (n, 1, H, W)."""
    size, counted = labels.shape[2:], labels != ignore_index
    labels = labels.where(counted, 0)
    wide = F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
    shares = wide.softmax(1)
    share, place = shares.max(1, keepdim=True)
    of_label, largest = wide.gather(1, torch.cat([labels, place], 1)).split(1, dim=1)
    # The largest probability is at least 1 / C and has an exact logarithm; a label's may be 0.
    losses = largest - share.log() - of_label
    correct = (of_label >= largest) & counted
    sums = losses.where(counted, 0).sum(), correct.sum()
    if not needs_gradient:
        return sums, None
    del wide
    # The gradient replaces the probabilities in place.
    shares.scatter_add_(1, labels, shares.new_full((), -1).expand_as(labels)).mul_(counted)
    return sums, torch.ops.aten.upsample_bilinear2d_backward(
        shares, size, logits.shape, align_corners
    )
