"""Choose the form of the block for a device, a dtype and a compiler."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmconvnext.ops.extension import is_compiled

Form = Literal['compiled', 'fused', 'lean', 'plain']


class _Row(NamedTuple):
    """A device type, the branch's dtype, and who compiles the block; None matches any.

    ``compiler`` is ``'whole'`` if code around the block is compiled or exported, ``'block'`` if
    each block is compiled separately, or ``'none'``.
    """

    device: str | None
    dtype: torch.dtype | None
    compiler: str | None
    form: Form


# The first matching row counts.
#
# plain: layer by layer. Compilers and exporters need it and generate their own kernels from it.
# fused: in parts that fit into a CPU's cache; dropped samples are not computed.
# lean: the whole batch at once, in few passes over memory and with fixed shapes.
# compiled: by torch's compiler, once for all blocks of a stage.
FORMS = (
    _Row(device=None, dtype=None, compiler='whole', form='plain'),
    _Row(device=None, dtype=None, compiler='block', form='compiled'),
    _Row(device='cpu', dtype=None, compiler='none', form='fused'),
    _Row(device=None, dtype=torch.float64, compiler='none', form='plain'),
    _Row(device=None, dtype=None, compiler='none', form='lean'),
)


# Looked up once, because a compiler cannot trace the search for modules.
_MMCV_IS_COMPILED = bool(find_spec('mmcv')) and is_compiled()


def form_for(x: Tensor, compiled: bool = False) -> Form:
    """Return the form in which an unmodified block computes an input.

    Args:
        x: The block's input.
        compiled: Whether each block is compiled separately.
    """
    compiler = 'whole' if is_traced(x) else 'block' if compiled else 'none'
    return next(row.form for row in FORMS if _fits(row, x, compiler))


def norm_is_lean(x: Tensor) -> bool:
    """Return whether a LayerNorm outside the blocks uses the 16-bit form for GPUs."""
    sixteen = x.dtype in (torch.float16, torch.bfloat16)
    return sixteen and x.device.type != 'cpu' and not is_traced(x)


def is_traced(x: Tensor) -> bool:
    """Return whether the input is traced by a compiler or exporter, or has no values."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or x.is_meta


def _fits(row: _Row, x: Tensor, compiler: str) -> bool:
    return (
        row.compiler in (None, compiler)
        and row.device in (None, x.device.type)
        # Checked last and only if needed: torch 2.11's compiler cannot trace this query.
        and row.dtype in (None, row.dtype and branch_dtype(x))
    )


def branch_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the block's branch: autocast's dtype if autocast is enabled."""
    device = x.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if casts and x.dtype != torch.float64 else x.dtype


def output_map(x: Tensor) -> Tensor:
    """Return an output map in the memory layout that heads need, copied if necessary.

    The layout is contiguous on a CPU, and if mmcv's compiled operators are installed: they misread
    any other layout (open-mmlab/mmcv #2203). Otherwise channels-last maps stay channels-last.
    """
    if x.device.type == 'cpu' or _MMCV_IS_COMPILED:
        return x.contiguous()
    return x
