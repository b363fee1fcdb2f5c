"""Linear layers without autograd, by the fastest available library."""

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Return ``x @ weight.T + bias``, with GELU applied if ``gelu``; not differentiable.

    Shapes: (P, I), (O, I), (O,) → (P, O).

    For float32 on a CPU it uses oneDNN, through the operator that torch.compile emits: 10 to 20 %
    faster than the BLAS that torch calls on processors other than Intel's, and GELU needs no
    separate pass. Otherwise, or if that operator is missing, it uses torch.
    """
    if _HAS_ONEDNN and x.device.type == 'cpu' and x.dtype == torch.float32 and len(x):
        operation, algorithm = ('gelu', 'none') if gelu else ('none', '')
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, operation, [], algorithm)
    out = F.linear(x, weight, bias)
    return F.gelu(out) if gelu else out


def _has_onednn() -> bool:
    """Return whether the private operator exists and gives the expected result."""
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.tensor([[1.0, 2.0]])
    try:
        out = torch.ops.mkldnn._linear_pointwise(x, x, x[0, :1], 'gelu', [], 'none')
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(out, F.gelu(F.linear(x, x, x[0, :1])))


_HAS_ONEDNN = _has_onednn()
