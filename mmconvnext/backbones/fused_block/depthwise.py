"""The gradients of a depthwise convolution; that of its weight where the library's own is slow."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Rows of the gradient that serve as one kernel: enough to amortise the kernel's reach, few enough
# for a sum of 32-bit products to keep its digits.
_ROWS = 32


def depthwise_weight_grad(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    """Gradient of a stride-1 depthwise convolution, padded to keep the size, by its weight.

    Shapes: x and grad (N, C, H, W), any memory layout, channels-last ones best → (C, 1, kernel,
    kernel), ``kernel`` odd.

    On a CPU, but in 16 bits, it is computed as a *forward* depthwise convolution: the gradient of
    the output, sample by sample and band by band, is the kernel that slides over the input. oneDNN
    has no depthwise form of the weight gradient at 7 × 7 and falls back to one for dense groups of
    16 channels, five to eight times slower; benchmarks/README.md has the figures. Elsewhere it is
    torch's own.
    """
    if x.device.type == 'cpu' and x.dtype in (torch.float32, torch.float64):
        return _by_forward_convolution(x, grad, kernel)
    weight = x.new_empty(x.shape[1], 1, kernel, kernel)
    return _as_weight(_library_grad(x, grad, weight, 1), kernel)


def depthwise_input_grad(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the same convolution by its input, (N, C, H, W), given its weight."""
    return _library_grad(x, grad, weight, 0)


def _library_grad(x: Tensor, grad: Tensor, weight: Tensor, by: int) -> Tensor:
    """By the input, 0, or by the weight, 1, as torch computes it."""
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
    # Zero rows above and below for the bands; those to the left and right come from the padding
    # of the convolution. The (N, H, W, C) view keeps a channels-last map what it is.
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
    # DistributedDataParallel compares even the strides of axes of length one.
    return grad.reshape(-1, kernel * kernel).view(-1, 1, kernel, kernel)


def _slide(x: Tensor, grad: Tensor, padding: tuple[int, int]) -> Tensor:
    """(1, C, h, w) and (C, rows, w) → (1, C, kernel, kernel)."""
    return F.conv2d(x, grad.unsqueeze(1), padding=padding, groups=x.shape[1])
