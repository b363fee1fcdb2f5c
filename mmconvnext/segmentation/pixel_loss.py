"""Cross entropy and accuracy at the size of the labels, a few rows at a time."""

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
from mmconvnext.segmentation.row_bands import Tile, full_precision, interpolation
from mmconvnext.segmentation.whole_loss import whole_loss

# Of the logits that are looked at together: 8 rows of 150 classes and 512 columns in float32, which
# a processor's cache holds.
_TILE_BYTES = 5 << 19
# Rows that are widened together: of 64, resized fourfold, 1 in 17 is widened twice.
_BAND_ROWS = 64
# A column depends on two columns before the resize; a dense matrix for 64 has 18 × 64 entries.
_BAND_COLUMNS = 64
_EPS = torch.finfo(torch.float32).eps  # mmseg's own: it keeps the mean over no pixels finite


def resized_cross_entropy(
    logits: Tensor, labels: Tensor, align_corners: bool = False, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Cross entropy of logits that are first resized, bilinearly, to the size of the labels.

    On a CPU neither the resized logits nor their softmax are ever whole: the forward pass takes a
    few rows at a time, about 15 MB in all at 150 classes and 512 columns and fourfold resizing.
    Elsewhere it takes some images at a time (``whole_loss.py``). Both leave nothing but the
    gradient at the size of ``logits``, and compute in float32 at least, under autocast too. A
    second derivative raises. Compiled or traced, it is the plain formula.

    Args:
        logits: (N, C, h, w), floating point.
        labels: (N, H, W) int64, 0…C - 1 or ``ignore_index``.
        align_corners: As of F.interpolate.
        ignore_index: The label of pixels that do not count.

    Returns:
        The loss summed over the pixels that count, and the number (int64) of those whose label has
        the largest logit, alone or among others.

    Raises:
        ArgumentError: a label is neither a class nor ignored (on a CPU; elsewhere it is torch's
            own assertion), or the batches differ.
    """
    on_cpu = logits.device.type == 'cpu'
    if (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        # torch has no deterministic kernel for the gradient of resizing on CUDA; F.interpolate
        # then takes other operations.
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
    """``compute`` gives (loss, correct pixels) of each part of the batch, and the gradient."""

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
    """Loss and correct pixels of each image; the gradient, (N, C, h, w), where it is needed."""
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
    bands: list[tuple[Tile, list[Tile]]]  # of rows to widen together, and of rows to look at
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
    """Loss and correct pixels of one image; adds to ``gradient``, (C, h, w) as ``logits``.

    Rows come first, (h, C, w), so that those of a band are one matrix. exp2 takes a third of exp's
    time, so that the logits are multiplied by log₂ e while they are few.
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
    """Rows (k, C, w) resized to (k, C, ``width``)."""
    wide = rows.new_empty(*rows.shape[:2], width)
    for outputs, ((_, inputs, matrix),) in columns:
        torch.mm(rows.flatten(0, 1)[:, inputs], matrix.T, out=wide.flatten(0, 1)[:, outputs])
    return wide


def _narrow(rows: Tensor, columns: Sequence[Tile], width: int) -> Tensor:
    """The transpose of :func:`_widen`: rows (k · C, W) to (k · C, ``width``)."""
    narrow = rows.new_zeros(len(rows), width)
    for outputs, ((_, inputs, matrix),) in columns:
        narrow[:, inputs].addmm_(rows[:, outputs], matrix)
    return narrow


def _tile(logits: Tensor, labels: Tensor, counted: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
    """Loss and correct pixels of logits (rows, C, W) · log₂ e, to labels (rows, 1, W).

    Where ``gradient``, the logits are replaced by the loss's gradient to them (without log₂ e).
    """
    logits -= logits.amax(1, keepdim=True)
    of_label = logits.gather(1, labels)
    correct = ((of_label == 0) & counted).sum()  # the largest is 0 now
    total = logits.exp2_().sum(1, keepdim=True)
    losses = total.log() - of_label * math.log(2)
    if gradient:
        logits *= counted / total
        logits.scatter_add_(1, labels, counted.to(logits.dtype).neg_())
    return losses.where(counted, 0).sum(), correct


class FastPixelLoss(BaseDecodeHead):
    """Decode heads' loss and accuracy through :func:`resized_cross_entropy`; mix in first.

    For one softmax cross entropy loss, averaged, without class weights and without a sampler of
    pixels; any other head keeps mmseg's own way. The same keys, shapes and values to rounding,
    but for the accuracy: of several largest logits, any is the predicted class. ``fast=False`` is
    mmseg's own way.
    """

    def __init__(self, fast: bool = True, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.fast = fast

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict:
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        if not self._is_summable(seg_logits, labels):
            return super().loss_by_feat(seg_logits, batch_data_samples)
        loss, correct = resized_cross_entropy(
            seg_logits, labels, self.align_corners, self.ignore_index
        )
        # On the device: reading the number would wait for it. float32, as mmseg's accuracy.
        counted = (labels != self.ignore_index).sum()
        pixels = counted if self.loss_decode.avg_non_ignore else labels.numel()
        return {
            self.loss_decode.loss_name: self.loss_decode.loss_weight * (loss / (pixels + _EPS)),
            'acc_seg': ((correct + _EPS) * (100 / (counted + _EPS)))[None],
        }

    def _is_summable(self, logits: Tensor, labels: Tensor) -> bool:
        """Whether loss and accuracy are sums over pixels of what the bands compute."""
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
