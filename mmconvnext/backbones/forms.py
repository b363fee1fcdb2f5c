"""Which form of the block runs where: the one place that decides."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmconvnext.ops.extension import is_compiled

Form = Literal['compiled', 'fused', 'lean', 'plain']


class _Row(NamedTuple):
    """A kind of device, the branch's dtype, who compiles it; None is any of them.

    ``compiler``: ``'whole'``, where something around the block is compiled or exported;
    ``'block'``, where the blocks are to be compiled by themselves; or ``'none'``.
    """

    device: str | None
    dtype: torch.dtype | None
    compiler: str | None
    form: Form


# The first row that fits.
#
# plain: layer by layer. Compilers and exporters want that, and make their own kernels of it.
# fused: in parts that stay in a CPU's cache, with what is dropped left out.
# lean: the whole batch at once, in few passes over memory and fixed shapes.
# compiled: by torch's compiler, once for the blocks of a stage.
FORMS = (
    _Row(device=None, dtype=None, compiler='whole', form='plain'),
    _Row(device=None, dtype=None, compiler='block', form='compiled'),
    _Row(device='cpu', dtype=None, compiler='none', form='fused'),
    _Row(device=None, dtype=torch.float64, compiler='none', form='plain'),
    _Row(device=None, dtype=None, compiler='none', form='lean'),
)


# Asked once: a compiler cannot trace how modules are found.
_MMCV_IS_COMPILED = bool(find_spec('mmcv')) and is_compiled()


def form_for(x: Tensor, compiled: bool = False) -> Form:
    """The form for an input, of a block that is as it was built.

    Args:
        x: The block's input.
        compiled: Whether blocks are to be compiled by themselves.
    """
    compiler = 'whole' if is_traced(x) else 'block' if compiled else 'none'
    return next(row.form for row in FORMS if _fits(row, x, compiler))


def norm_is_lean(x: Tensor) -> bool:
    """Whether a LayerNorm outside of the blocks takes the form for 16 bits on a GPU."""
    sixteen = x.dtype in (torch.float16, torch.bfloat16)
    return sixteen and x.device.type != 'cpu' and not is_traced(x)


def is_traced(x: Tensor) -> bool:
    """Whether a compiler or an exporter looks, or nothing is computed."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or x.is_meta


def _fits(row: _Row, x: Tensor, compiler: str) -> bool:
    return (
        row.compiler in (None, compiler)
        and row.device in (None, x.device.type)
        # Last, and only where it matters: torch 2.11's compiler cannot trace what it asks.
        and row.dtype in (None, row.dtype and branch_dtype(x))
    )


def branch_dtype(x: Tensor) -> torch.dtype:
    """What the branch of a block is computed in: autocast's dtype where that is on."""
    device = x.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if casts and x.dtype != torch.float64 else x.dtype


def output_map(x: Tensor) -> Tensor:
    """An output map in the memory layout that heads want; a copy where that is another.

    On a CPU, and where mmcv's own compiled operators are installed, which misread any other
    (open-mmlab/mmcv #2203), that is contiguous. Elsewhere channels-last maps stay so.
    """
    if x.device.type == 'cpu' or _MMCV_IS_COMPILED:
        return x.contiguous()
    return x
