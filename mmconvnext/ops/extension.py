"""A replacement of mmcv's compiled module ``mmcv._ext``, if mmcv was installed without it.

``mmcv-lite`` has all Python files of ``mmcv.ops`` but not the extension that they import, and
mmdet 3.3 and mmseg 1.2 always import ``mmcv.ops``, although UperNet does not use it
(open-mmlab/mmdetection #10619). The replacement makes these imports work and implements, in
PyTorch, the operators of Mask R-CNN and Cascade Mask R-CNN. Any other operator raises an error when
it is called.

A compiled mmcv is used unchanged, except for RoIAlign. It gets contiguous maps, because it misreads
any other layout (open-mmlab/mmcv #2203). On a CPU it is replaced by PyTorch code that gives the
same results several times faster (benchmarks/operators.md); the environment variable
``MMCONVNEXT_ROI_ALIGN=compiled`` keeps mmcv's.
"""

import functools
import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import NoReturn

import torch
from torch import Tensor

from mmconvnext.errors import MissingOperatorError
from mmconvnext.ops import cuda
from mmconvnext.ops.nms import nms, softnms
from mmconvnext.ops.roi_align import roi_align_backward, roi_align_forward

NAME = 'mmcv._ext'


def _serve(ours: Callable, theirs: Callable, is_theirs: Callable[..., bool]) -> Callable:
    """Return an operator that calls ``theirs`` if ``is_theirs(arguments)``, else ``ours``."""

    @torch.compiler.disable
    @functools.wraps(ours)
    def operator(*tensors: Tensor, **options: object) -> object:
        return (theirs if is_theirs(*tensors, **options) else ours)(*tensors, **options)

    return operator


#: The compiled operators that mmdet's two-stage detectors call, in PyTorch; on CUDA torchvision's,
#: if it has them.
OPERATORS: Mapping[str, Callable] = MappingProxyType(
    {
        'nms': _serve(nms, cuda.nms, cuda.serves_nms),
        'softnms': softnms,
        'roi_align_forward': _serve(
            roi_align_forward, cuda.roi_align_forward, cuda.serves_roi_align
        ),
        'roi_align_backward': _serve(
            roi_align_backward, cuda.roi_align_backward, cuda.serves_roi_align
        ),
    }
)


class StandIn(ModuleType):
    """Has every operator's name; operators that :data:`OPERATORS` lacks raise when called.

    Dunder names are not provided, so that tools which look for ``__path__`` or ``__wrapped__`` see
    an ordinary module.
    """

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return OPERATORS.get(name) or _missing_operator(name)


def _missing_operator(name: str) -> Callable[..., NoReturn]:
    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOperatorError(
            f'mmcv.ops: the operator {name!r} is not implemented here: expected mmcv with compiled '
            'operators, found mmcv-lite. Install it: pip uninstall mmcv-lite, then '
            'pip install --no-build-isolation mmcv==2.1.0 (compiles, with torch already installed)'
        )

    operator.__name__ = name
    return operator


class _StandInFinder(MetaPathFinder, Loader):
    """Is last in ``sys.meta_path``, so that a compiled ``mmcv._ext`` is always found first."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        return ModuleSpec(NAME, self, origin=__file__) if fullname == NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: :class:`StandIn` has no code to run."""


def install() -> None:
    """Register the replacement in the import system, once; a compiled extension has priority."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StandInFinder())
    if find_spec('mmcv') and is_compiled():
        _mend_roi_align()


def is_compiled() -> bool:
    """Return whether mmcv's own compiled extension is installed.

    Raises:
        ModuleNotFoundError: mmcv is not installed.
    """
    spec = find_spec(NAME)
    return spec is not None and not isinstance(spec.loader, _StandInFinder)


@functools.cache
def is_roi_align_ours_on_cpu() -> bool:
    """Return whether RoIAlign on a CPU is PyTorch's even if mmcv is compiled."""
    choice = os.environ.get('MMCONVNEXT_ROI_ALIGN', 'auto')
    if choice not in ('auto', 'compiled'):
        logging.getLogger('mmconvnext').warning(
            'MMCONVNEXT_ROI_ALIGN: expected auto or compiled, got %r; using auto', choice
        )
    return choice != 'compiled'


def _mend_roi_align() -> None:
    try:
        module = importlib.import_module(NAME)
    except (ImportError, OSError):
        return  # built for another torch, which `python -m mmconvnext` reports
    for ours in (roi_align_forward, roi_align_backward):
        compiled = getattr(module, ours.__name__, None)
        if compiled and not hasattr(compiled, '__wrapped__'):  # not replaced by an earlier call
            setattr(module, ours.__name__, _serve(ours, _contiguous(compiled), _is_compiled_taken))


def _contiguous(compiled: Callable) -> Callable:
    def operator(features: Tensor, *tensors: Tensor, **options: object) -> None:
        compiled(features.contiguous(), *tensors, **options)

    return operator


def _is_compiled_taken(input: Tensor, *_: Tensor, **__: object) -> bool:
    return input.device.type != 'cpu' or not is_roi_align_ours_on_cpu()
