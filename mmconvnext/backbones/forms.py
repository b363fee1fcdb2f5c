"""Which form of the block runs where: the one place that decides."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmconvnext.ops.extension import is_compiled

Form = Literal['fused', 'lean', 'plain']


class _Row(NamedTuple):
    """A kind of device, the branch's dtype, whether it is traced; None is any of them."""

    device: str | None
    dtype: torch.dtype | None
    traced: bool | None
    form: Form


# The first row that fits.
#
# plain: layer by layer. Compilers and exporters want that, and make their own kernels of it.
# fused: in parts that stay in a CPU's cache, with what is dropped left out.
# lean: the whole batch at once, in few passes over memory and fixed shapes.
FORMS = (
    _Row(device=None, dtype=None, traced=True, form='plain'),
    _Row(device='cpu', dtype=None, traced=False, form='fused'),
    _Row(device=None, dtype=torch.float64, traced=False, form='plain'),
    _Row(device=None, dtype=None, traced=False, form='lean'),
)


def form_for(x: Tensor) -> Form:
    """The form for an input, whose block is as it was built."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or x.is_meta
    given = (x.device.type, branch_dtype(x), traced)
    return next(
        row.form
        for row in FORMS
        if all(wanted in (None, got) for wanted, got in zip(row[:3], given))
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
    if x.device.type == 'cpu' or (find_spec('mmcv') and is_compiled()):
        return x.contiguous()
    return x
