"""Gradients of a depthwise convolution, with a faster weight gradient on CPUs."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Rows of the gradient used as one kernel: enough to amortise the overlap, few enough to keep a
# float32 sum accurate.
_ROWS = 32


def depthwise_weight_grad(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    """Return the weight gradient of a depthwise convolution with stride 1 and "same" padding.

    Shapes: x and grad (N, C, H, W) → (C, 1, kernel, kernel), ``kernel`` odd. Any memory layout
    works; channels-last is fastest.

    On a CPU, except in 16 bits, it is computed as a *forward* depthwise convolution: the output's
    gradient, sample by sample and band by band, is the kernel that slides over the input. For 7 × 7
    kernels oneDNN has no depthwise weight gradient and uses dense groups of 16 channels, which is
    five to eight times slower (benchmarks/README.md). In all other cases torch computes it.
    """
    if x.device.type == 'cpu' and x.dtype in (torch.float32, torch.float64):
        return _by_forward_convolution(x, grad, kernel)
    weight = x.new_empty(x.shape[1], 1, kernel, kernel)
    return _as_weight(_library_grad(x, grad, weight, 1), kernel)


def depthwise_input_grad(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the same convolution's input, (N, C, H, W), given its weight."""
    return _library_grad(x, grad, weight, 0)


def _library_grad(x: Tensor, grad: Tensor, weight: Tensor, by: int) -> Tensor:
    """Return torch's gradient of the input (``by`` = 0) or of the weight (``by`` = 1)."""
    return torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        bias_sizes=None,
        stride=[1, 1],
        padding=[weight.shape[-1] // 2] * 2,
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=len(weight),
        output_mask=[by == 0, by == 1, False],
    )[by]


def _by_forward_convolution(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    reach = kernel // 2
    height = x.shape[2]
    total = x.new_zeros(1, x.shape[1], kernel, kernel)
    # Zero rows above and below are for the bands; zeros at the left and right come from the padding
    # of the convolution. The (N, H, W, C) view preserves the channels-last layout.
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 0, reach, reach)) if height > _ROWS else None
    for sample in range(x.shape[0]):
        if padded is None:
            total += _slide(x[sample : sample + 1], grad[sample], (reach, reach))
            continue
        for row in range(0, height, _ROWS):
            band = grad[sample, :, row : row + _ROWS]
            rows = padded[sample : sample + 1, row : row + band.shape[1] + 2 * reach]
            total += _slide(rows.permute(0, 3, 1, 2), band, (0, reach))
    return _as_weight(total, kernel)


def _as_weight(grad: Tensor, kernel: int) -> Tensor:
    # DistributedDataParallel compares strides, even those of dimensions of length one.
    return grad.reshape(-1, kernel * kernel).view(-1, 1, kernel, kernel)


def _slide(x: Tensor, grad: Tensor, padding: tuple[int, int]) -> Tensor:
    """(1, C, h, w) and (C, rows, w) → (1, C, kernel, kernel)."""
    return F.conv2d(x, grad.unsqueeze(1), padding=padding, groups=x.shape[1])
