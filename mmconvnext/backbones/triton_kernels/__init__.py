"""Triton kernels for ConvNeXt in 16 bits on CUDA: where they are installed, what the models run.

- ``block``: the whole block as one function of autograd, made of the following.
- ``weights``, ``weight_gradients``: its parameters made ready, and their gradients.
- ``depthwise_norm``: depthwise 7×7, bias and LayerNorm in one pass.
- ``activation``: GELU and Global Response Normalization, between the two linear layers.
- ``residual``: layer scale, stochastic depth and the sum at the end.
- ``layer_norm``: the LayerNorms outside of the blocks.

Triton is no dependency of this package, and this file does not import it; those do.
"""

import functools
import os
import shutil
from importlib.util import find_spec

import torch
from torch import Tensor

# All channels of a pixel are in one program, for LayerNorm.
MOST_CHANNELS = 4096


@functools.cache
def installed() -> bool:
    """Return whether Triton is there, and the C compiler that it makes its launchers with."""
    compilers = (os.environ.get('CC'), 'cc', 'gcc', 'clang')
    return bool(find_spec('triton')) and any(name and shutil.which(name) for name in compilers)


@functools.cache
def _has_tensor_cores(device: torch.device) -> bool:
    # Before sm_80 there is no bfloat16, and Triton supports less.
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def run_on(x: Tensor, dtype: torch.dtype) -> bool:
    """Return whether the kernels compute maps (N, H, W, C) of ``x``'s device in a dtype."""
    return (
        dtype in (torch.bfloat16, torch.float16)
        and x.is_cuda
        and type(x) is Tensor  # a fake one has no memory
        and x.shape[-1] <= MOST_CHANNELS
        and installed()
        and _has_tensor_cores(x.device)
    )
