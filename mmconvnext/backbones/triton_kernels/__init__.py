"""Triton kernels for ConvNeXt in 16 bits on CUDA, used where Triton is installed.

- ``block``: the whole block as one autograd function, made of the modules below.
- ``weights``, ``weight_gradients``: the block's parameters in 16 bits, and their gradients.
- ``depthwise_norm``: depthwise 7×7, bias and LayerNorm in one pass.
- ``activation``: GELU and Global Response Normalization, between the two linear layers.
- ``residual``: layer scale, stochastic depth and the residual sum.
- ``layer_norm``: the LayerNorms outside of the blocks.

Triton is not a dependency of this package. The other modules import it; this one does not.
"""

import functools
import warnings
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from mmconvnext.backbones.fused_block.weights import BlockWeights
from mmconvnext.errors import first_line

# One program has all channels of a pixel, for LayerNorm. A grid's last dimension is the sample.
MOST_CHANNELS = 4096
MOST_SAMPLES = 65535


def run_on(x: Tensor, dtype: torch.dtype) -> bool:
    """Return whether the kernels compute maps (N, H, W, C) of ``x``'s device in a dtype."""
    return (
        dtype in (torch.bfloat16, torch.float16)
        and x.is_cuda
        and type(x) is Tensor  # a fake one has no memory
        and x.numel() > 0
        and len(x) <= MOST_SAMPLES
        and x.shape[-1] <= MOST_CHANNELS
        and _work_on(x.device)
    )


def suit(weights: BlockWeights) -> bool:
    """Return whether the kernels can compute a block with these weights."""
    channels = len(weights.depthwise)
    return (
        weights.depthwise.shape[1:] == (1, 7, 7)
        and weights.expand.shape == (4 * channels, channels)
        and weights.project.shape == (channels, 4 * channels)
        and all(one is None or are_plain(one) for one in weights)
    )


def are_plain(*weights: Tensor) -> bool:
    """Return whether all weights are plain, contiguous tensors."""
    return all(type(one) in (nn.Parameter, Tensor) and one.is_contiguous() for one in weights)


@functools.cache
def _work_on(device: torch.device) -> bool:
    """Return whether Triton is installed and runs; it needs a C compiler and Python's headers."""
    if find_spec('triton') is None or torch.version.hip is not None:
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):  # no bfloat16 before that
        return False
    from mmconvnext.backbones.triton_kernels.layer_norm import layer_norm

    try:
        one = torch.ones(8, device=device)
        layer_norm(one[None], one, one, 1e-6)
    except Exception as error:  # from Triton, a compiler or the linker
        warnings.warn(
            f'Triton kernels do not run here ({first_line(error)}); blocks run without them; '
            'triton_kernels=False leaves them out',
            stacklevel=2,
        )
        return False
    return True
