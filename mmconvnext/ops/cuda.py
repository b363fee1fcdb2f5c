"""torchvision's CUDA operators with the arguments of mmcv's, if torchvision can be imported.

Both give the same results, because both derive from detectron2's; the tests compare them.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from mmconvnext.ops.sampling import Pooling

# The dtypes of torchvision's CUDA kernels, and bfloat16, which is converted to float32.
_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def serves_nms(boxes: Tensor, *_: Tensor, offset: int, **__: object) -> bool:
    """Return whether torchvision can replace nms on this device: it has no ``offset``."""
    return offset == 0 and _serves(boxes)


def serves_roi_align(input: Tensor, *_: Tensor, pool_mode: int, **__: object) -> bool:
    """Return whether torchvision can replace RoIAlign on this device: it has no max pooling."""
    return pool_mode == 1 and _serves(input)


def _serves(values: Tensor) -> bool:
    return values.is_cuda and values.dtype in _DTYPES and is_available()


@functools.cache
def is_available() -> bool:
    """Return whether torchvision's operators work with this torch."""
    try:
        import torchvision.ops
    except (ImportError, RuntimeError, OSError, AttributeError):
        return False
    return hasattr(torchvision.ops, 'roi_align')


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Compute :func:`mmconvnext.ops.nms.nms` with ``offset`` 0."""
    return torch.ops.torchvision.nms(_served(boxes), _served(scores), iou_threshold)


def _served(values: Tensor) -> Tensor:
    return values.float() if values.dtype == torch.bfloat16 else values


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, *_: Tensor, **options: Any
) -> None:
    """Compute :func:`mmconvnext.ops.roi_align.roi_align_forward` with ``pool_mode`` 1."""
    *bins, scale, ratio, _mode, aligned = Pooling(**options)
    input = _served(input)
    pooled = torch.ops.torchvision.roi_align(
        input, rois.to(input.dtype), scale, *bins, ratio, aligned
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options: Any,
) -> None:
    """Compute :func:`mmconvnext.ops.roi_align.roi_align_backward` with ``pool_mode`` 1."""
    *bins, scale, ratio, _mode, aligned = Pooling(**options)
    grad_output = _served(grad_output)
    gradient = torch.ops.torchvision._roi_align_backward(
        grad_output, rois.to(grad_output.dtype), scale, *bins, *grad_input.shape, ratio, aligned
    )
    grad_input.copy_(gradient)
