"""Cross entropy and accuracy at the size of the labels, computed a few rows at a time."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.utils import SampleList
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmconvnext.errors import ArgumentError
from mmconvnext.segmentation.class_weights import ignore_pixels_in_class_weights
from mmconvnext.segmentation.row_bands import Tile, full_precision, interpolation
from mmconvnext.segmentation.whole_loss import whole_loss

# Bytes of logits processed together: 8 rows of 150 classes and 512 columns in float32, which fit
# into a processor's cache.
_TILE_BYTES = 5 << 19
# Rows widened together: with 64 rows, resized fourfold, 1 in 17 is widened twice.
_BAND_ROWS = 64
# A column depends on two columns before the resize; a dense matrix for 64 has 18 × 64 entries.
_BAND_COLUMNS = 64
_EPS = torch.finfo(torch.float32).eps  # as in mmseg: keeps the mean over no pixels finite


def resized_cross_entropy(
    logits: Tensor, labels: Tensor, align_corners: bool = False, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of logits that are resized bilinearly to the size of the labels.

    On a CPU the full resized logits and their softmax are never built: the forward pass processes a
    few rows at a time, with about 15 MB for 150 classes, 512 columns and fourfold resizing. On
    other devices it processes some images at a time (``whole_loss.py``). Both keep only the
    gradient at the size of ``logits``, and compute in float32 or more, also under autocast. A
    second derivative raises an error. If compiled or traced, the plain formula is used.

    Args:
        logits: (N, C, h, w), floating point.
        labels: (N, H, W) int64, 0…C - 1 or ``ignore_index``.
        align_corners: As in F.interpolate.
        ignore_index: Label of ignored pixels.

    Returns:
        The loss summed over the pixels that are not ignored, and the number (int64) of those whose
        label has the largest logit, including ties.

    Raises:
        ArgumentError: a label is neither a class nor ignored (on a CPU; on other devices torch's
            own assertion fails), or the batch sizes differ.
    """
    on_cpu = logits.device.type == 'cpu'
    if (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        # torch has no deterministic CUDA kernel for the gradient of resizing; F.interpolate then
        # uses other operations.
        or (torch.are_deterministic_algorithms_enabled() and not on_cpu)
    ):
        return _plain(logits, labels, align_corners, ignore_index)
    if logits.ndim != 4 or labels.ndim != 3 or not 0 < len(logits) == len(labels):
        raise ArgumentError(
            'resized_cross_entropy: expected logits (N, C, h, w) and labels (N, H, W), got '
            f'{tuple(logits.shape)} and {tuple(labels.shape)}'
        )
    compute = loss_in_bands if on_cpu else whole_loss
    with full_precision(logits.device):
        return _ResizedCrossEntropy.apply(compute, logits, labels, align_corners, ignore_index)


def _plain(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int
) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    logits = F.interpolate(
        logits.to(dtype), labels.shape[1:], mode='bilinear', align_corners=align_corners
    )
    loss = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction='sum')
    counted = labels != ignore_index
    of_label = logits.gather(1, labels.where(counted, 0)[:, None])[:, 0]
    return loss, ((of_label == logits.amax(1)) & counted).sum()


class _ResizedCrossEntropy(torch.autograd.Function):
    """``compute`` returns (loss, correct pixels) of each part of the batch, and the gradient."""

    @staticmethod
    def forward(
        ctx: Any, compute: Callable, logits: Tensor, labels: Tensor, *options: bool | int
    ) -> tuple[Tensor, Tensor]:
        sums, gradient = compute(logits, labels, *options, ctx.needs_input_grad[1])
        if gradient is not None:
            ctx.save_for_backward(gradient)
            ctx.dtype = logits.dtype
        loss, correct = (torch.stack(values).sum() for values in zip(*sums))
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return None, (gradient * loss).to(ctx.dtype), None, None, None


def loss_in_bands(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int, needs_gradient: bool
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """Return each image's loss and correct pixels, and the gradient, (N, C, h, w), if needed."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    counted = labels != ignore_index
    labels = labels.where(counted, 0)
    _check_labels(labels, logits.shape[1])
    plan = _plan(logits, labels.shape[1:], align_corners, dtype)
    gradient = None
    if needs_gradient:
        gradient = torch.zeros_like(logits, dtype=dtype, memory_format=torch.contiguous_format)
    sums = [
        _image(of_image.to(dtype), truth, plan, None if gradient is None else gradient[n])
        for n, (of_image, *truth) in enumerate(zip(logits, labels, counted))
    ]
    return sums, gradient


def _check_labels(labels: Tensor, classes: int) -> None:
    if not labels.numel():
        return
    lowest, highest = (int(value) for value in labels.aminmax())
    if lowest < 0 or highest >= classes:
        raise ArgumentError(
            f'labels: expected 0…{classes - 1} or ignore_index, got '
            f'{highest if highest >= classes else lowest}; see reduce_zero_label of the dataset '
            'and num_classes of the head'
        )


class _Plan(NamedTuple):
    bands: list[tuple[Tile, list[Tile]]]  # rows to widen together, and parts to process
    columns: list[Tile]


def _plan(logits: Tensor, size: Sequence[int], align_corners: bool, dtype: torch.dtype) -> _Plan:
    rows, columns = (
        interpolation(*lengths, align_corners, logits.dtype)
        for lengths in zip(logits.shape[2:], size)
    )
    like = logits.new_empty(0, dtype=dtype)
    tile_rows = max(1, _TILE_BYTES // (logits.shape[1] * size[1] * like.element_size()))
    per_band = max(1, _BAND_ROWS // tile_rows)
    tiles = rows.tiles(tile_rows, like)
    bands = [
        (band, tiles[i * per_band : (i + 1) * per_band])
        for i, band in enumerate(rows.tiles(per_band * tile_rows, like))
    ]
    return _Plan(bands, columns.tiles(_BAND_COLUMNS, like))


def _image(
    logits: Tensor, truth: Sequence[Tensor], plan: _Plan, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return one image's loss and correct pixels; add to ``gradient``, (C, h, w) like ``logits``.

    Rows come first, (h, C, w), so that the rows of a band form one matrix. exp2 takes a third of
    exp's time, so the logits are multiplied by log₂ e before they are resized.
    """
    columns = plan.columns
    width = columns[-1].outputs.stop
    by_row = (logits * math.log2(math.e)).transpose(0, 1).contiguous()
    losses, corrects = [], []
    for band, tiles in plan.bands:
        inputs = band.pieces[0].inputs
        wide = _widen(by_row[inputs], columns, width).flatten(1)
        wide_gradient = None if gradient is None else torch.zeros_like(wide)
        for tile in tiles:
            _, rows, matrix = tile.pieces[0]
            rows = slice(rows.start - inputs.start, rows.stop - inputs.start)
            tile_logits = (matrix @ wide[rows]).view(-1, by_row.shape[1], width)
            labels, counted = (of_image[tile.outputs, None] for of_image in truth)
            loss, correct = _tile(tile_logits, labels, counted, gradient is not None)
            losses.append(loss)
            corrects.append(correct)
            if wide_gradient is not None:
                wide_gradient[rows].addmm_(matrix.T, tile_logits.flatten(1))
        if gradient is not None and wide_gradient is not None:
            narrow = _narrow(wide_gradient.view(-1, width), columns, by_row.shape[2])
            gradient[:, inputs] += narrow.view(-1, *by_row.shape[1:]).transpose(0, 1)
    return torch.stack(losses).sum(), torch.stack(corrects).sum()


def _widen(rows: Tensor, columns: Sequence[Tile], width: int) -> Tensor:
    """Resize rows (k, C, w) to (k, C, ``width``)."""
    wide = rows.new_empty(*rows.shape[:2], width)
    for outputs, ((_, inputs, matrix),) in columns:
        torch.mm(rows.flatten(0, 1)[:, inputs], matrix.T, out=wide.flatten(0, 1)[:, outputs])
    return wide


def _narrow(rows: Tensor, columns: Sequence[Tile], width: int) -> Tensor:
    """Apply the transpose of :func:`_widen`: rows (k · C, W) to (k · C, ``width``)."""
    narrow = rows.new_zeros(len(rows), width)
    for outputs, ((_, inputs, matrix),) in columns:
        narrow[:, inputs].addmm_(rows[:, outputs], matrix)
    return narrow


def _tile(logits: Tensor, labels: Tensor, counted: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
    """Return loss and correct pixels for logits (rows, C, W) · log₂ e and labels (rows, 1, W).

    With ``gradient``, the logits are replaced by the loss's gradient (without log₂ e).
    """
    logits -= logits.amax(1, keepdim=True)
    of_label = logits.gather(1, labels)
    correct = ((of_label == 0) & counted).sum()  # the largest logit is now 0
    total = logits.exp2_().sum(1, keepdim=True)
    losses = total.log() - of_label * math.log(2)
    if gradient:
        logits *= counted / total
        logits.scatter_add_(1, labels, counted.to(logits.dtype).neg_())
    return losses.where(counted, 0).sum(), correct


class FastPixelLoss(BaseDecodeHead):
    """A mixin for decode heads: loss and accuracy by :func:`resized_cross_entropy`.

    It must be the first base class. It applies to one averaged softmax cross entropy without class
    weights and pixel sampler; other heads compute like mmseg. Keys, shapes and, up to rounding,
    values are the same, but in the accuracy every one of several largest logits counts as the
    predicted class, and class weights work where pixels are ignored. ``fast=False`` computes
    like mmseg.
    """

    def __init__(self, fast: bool = True, **kwargs: object) -> None:
        ignore_pixels_in_class_weights()
        super().__init__(**kwargs)
        self.fast = fast

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict:
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        if not self._is_summable(seg_logits, labels):
            return super().loss_by_feat(seg_logits, batch_data_samples)
        loss, correct = resized_cross_entropy(
            seg_logits, labels, self.align_corners, self.ignore_index
        )
        # Kept on the device: reading the number would wait for it. float32, as in mmseg.
        counted = (labels != self.ignore_index).sum()
        pixels = counted if self.loss_decode.avg_non_ignore else labels.numel()
        return {
            self.loss_decode.loss_name: self.loss_decode.loss_weight * (loss / (pixels + _EPS)),
            'acc_seg': ((correct + _EPS) * (100 / (counted + _EPS)))[None],
        }

    def _is_summable(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether loss and accuracy are sums over the pixels of the bands."""
        loss = self.loss_decode
        return (
            self.fast
            and self.sampler is None
            and self.out_channels > 1
            and type(loss) is CrossEntropyLoss
            and not (loss.use_sigmoid or loss.use_mask)
            and loss.reduction == 'mean'
            and loss.class_weight is None
            and isinstance(self.ignore_index, int)
            and labels.dtype == torch.int64
            and labels.numel() > 0
        )
