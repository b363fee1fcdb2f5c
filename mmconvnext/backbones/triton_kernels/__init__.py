"""Triton kernels for the ConvNeXt block on CUDA. An option: nothing here was timed on a GPU yet.

- ``depthwise_norm``: depthwise 7×7, bias and LayerNorm in one pass, and its backward pass.
- ``response``: Global Response Normalization without its shift, and its backward pass.

Both are :func:`torch.library.triton_op`, so ``torch.compile`` sees the kernels. There is no rule
for autocast: the lean block, which calls them, casts by itself and has autocast switched off.

Triton is no dependency of this package, and this file does not import it; those two do.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from mmconvnext.errors import ArgumentError

# All channels of a pixel are in one program, for LayerNorm: 4096 in float32 are 32 registers of
# each of 128 threads.
MOST_CHANNELS = 4096


def require_triton() -> None:
    """Check that Triton is installed.

    Raises:
        ArgumentError: (a ValueError) it is not.
    """
    if find_spec('triton') is None:
        raise ArgumentError(
            'triton_kernels: expected Triton to be installed, found no module triton; install it '
            '(pip install triton, on Linux) or leave triton_kernels out'
        )


def fit(dtype: torch.dtype, weight: Tensor) -> bool:
    """Return whether the kernels compute a block of this depthwise weight, (C, 1, k, k)."""
    return (
        dtype in (torch.float32, torch.bfloat16, torch.float16)
        and weight.shape[1:] == (1, 7, 7)
        and len(weight) <= MOST_CHANNELS
    )
