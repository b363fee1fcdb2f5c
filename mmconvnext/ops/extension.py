"""Stands in for mmcv's compiled module ``mmcv._ext`` where mmcv was installed without it.

``mmcv-lite`` ships every Python file of ``mmcv.ops`` but not the extension those import, and
mmdet 3.3 and mmseg 1.2 import ``mmcv.ops`` unguarded, although UperNet calls nothing of it
(open-mmlab/mmdetection #10619). The stand-in lets the imports through and serves, in PyTorch, the
operators that Mask R-CNN and Cascade Mask R-CNN call; another one is missed only when it is called.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import NoReturn

from mmconvnext.errors import MissingOperatorError
from mmconvnext.ops.nms import nms, softnms
from mmconvnext.ops.roi_align import roi_align_backward, roi_align_forward

NAME = 'mmcv._ext'

# The compiled operators that mmdet's two-stage detectors call, in PyTorch.
OPERATORS: Mapping[str, Callable] = MappingProxyType(
    {
        'nms': nms,
        'softnms': softnms,
        'roi_align_forward': roi_align_forward,
        'roi_align_backward': roi_align_backward,
    }
)


class StandIn(ModuleType):
    """Answers every operator's name; what :data:`OPERATORS` lacks raises when called.

    Dunder names are refused, so that tools which look for ``__path__``, ``__wrapped__`` and the
    like see an ordinary module.
    """

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return OPERATORS.get(name) or _missing_operator(name)


def _missing_operator(name: str):
    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOperatorError(
            f'mmcv.ops: the operator {name!r} needs mmcv with its compiled operators, and this '
            'mmcv has none (mmcv-lite). Install one: pip uninstall mmcv-lite, then '
            'pip install --no-build-isolation mmcv==2.1.0 (compiles, with torch already there)'
        )

    operator.__name__ = name
    return operator


class _StandInFinder(MetaPathFinder, Loader):
    """Last on ``sys.meta_path``: a compiled ``mmcv._ext`` is always found before it."""

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(NAME, self, origin=__file__) if fullname == NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: :class:`StandIn` answers by itself."""


def install() -> None:
    """Offer the stand-in to the import system, once; a compiled extension goes first."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StandInFinder())


def is_compiled() -> bool:
    """Whether mmcv's own compiled extension is there.

    Raises:
        ModuleNotFoundError: there is no mmcv at all.
    """
    spec = importlib.util.find_spec(NAME)
    return spec is not None and not isinstance(spec.loader, _StandInFinder)
