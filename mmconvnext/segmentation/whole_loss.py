"""Cross entropy and accuracy at the size of the labels, some whole pictures at a time: for a GPU.

The parts of ``pixel_loss.py`` are for a CPU's cache. Here few kernels count, and passes over the
logits at full size: they are resized, and their softmax becomes the gradient in place. Nothing
waits for the device.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

# Resized logits that are held at once, twice.
_BYTES = 3 << 29


class WholeCrossEntropy(torch.autograd.Function):
    """:func:`mmconvnext.segmentation.pixel_loss.resized_cross_entropy`, without its checks."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int
    ) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        step = max(_BYTES // (logits.shape[1] * labels[0].numel() * dtype.itemsize), 1)
        sums, gradients = [], []
        for some, labels_of in zip(logits.split(step), labels.unsqueeze(1).split(step)):
            pictures = _Pictures(some.to(dtype), labels_of, align_corners, ignore_index)
            sums.append(pictures.summed())
            if ctx.needs_input_grad[0]:
                gradients.append(pictures.gradient())
        if gradients:
            ctx.save_for_backward(torch.cat(gradients) if len(gradients) > 1 else gradients[0])
            ctx.dtype = logits.dtype
        loss, correct = (torch.stack(values).sum() for values in zip(*sums))
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * loss).to(ctx.dtype), None, None, None


class _Pictures:
    """Some of a batch: logits (n, C, h, w) in float32 or more, labels (n, 1, H, W)."""

    def __init__(
        self, logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int
    ) -> None:
        self._counted = labels != ignore_index
        self._labels = labels.where(self._counted, 0)
        self._low_shape, self._size = list(logits.shape), list(labels.shape[2:])
        self._align_corners = align_corners
        self._logits = F.interpolate(
            logits, self._size, mode='bilinear', align_corners=align_corners
        )
        self._shares = self._logits.softmax(1)

    def summed(self) -> tuple[Tensor, Tensor]:
        """Their loss and number of correct pixels."""
        share, place = self._shares.max(1, keepdim=True)
        of_label, largest = self._logits.gather(1, torch.cat([self._labels, place], 1)).split(
            1, dim=1
        )
        # The largest share is at least 1 / C and has an exact logarithm; a label's may be 0.
        losses = largest - share.log() - of_label
        correct = (of_label >= largest) & self._counted
        return losses.where(self._counted, 0).sum(), correct.sum()

    def gradient(self) -> Tensor:
        """Of the loss to the logits; once, and last, since it takes the place of the shares."""
        del self._logits
        minus_one = self._shares.new_full((), -1).expand_as(self._labels)
        self._shares.scatter_add_(1, self._labels, minus_one).mul_(self._counted)
        return torch.ops.aten.upsample_bilinear2d_backward(
            self._shares, self._size, self._low_shape, self._align_corners
        )
