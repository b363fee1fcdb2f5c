"""Fixes for the OpenMMLab stack (mmcv 2.1, mmengine 0.10, mmdet 3.3, mmseg 1.2) on current torch.

Each function prevents one failure, and does nothing if that failure cannot happen.
:func:`apply` calls all of them when mmconvnext is imported. :data:`PATCHES` lists
all changes that the import makes in other packages.
"""

import argparse
import importlib
import logging
import os
import pickle
import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from mmconvnext.config import plain_numpy, safe_formats
from mmconvnext.errors import first_line
from mmconvnext.ops import extension
from mmconvnext.registry import MODELS

# Installed packages that are treated as missing, and the reasons.
set_aside: dict[str, str] = {}


def apply() -> None:
    """Apply all fixes that this environment needs; safe to call again."""
    extension.install()
    safe_formats.register()  # mmengine's own readers run code that a file names
    allow_mmengine_checkpoints()
    set_aside_broken_torchvision()
    keep_optimizers_uncompiled()
    name_package()


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the training state in mmengine's checkpoints.

    The message hub of a checkpoint contains HistoryBuffer objects with numpy arrays, which torch's
    safe loader (the default since 2.6) refuses, so that resuming and testing fail
    (open-mmlab/mmengine #1655). The types allowed here build plain data and run no code. The
    buffers refer to their own methods by ``getattr``, which is replaced by a function that returns
    only these methods. numpy's functions are replaced by those of
    :mod:`~mmconvnext.config.plain_numpy`.
    """
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            argparse.Namespace,  # the arguments, in official and timm's checkpoints
            (plain_numpy.PlainDtype, 'numpy.dtype'),
            (plain_numpy.array_class, 'numpy.ndarray'),
            (plain_numpy.PlainArray, 'state'),  # a name without a dot, which no file can contain
            (_history_statistic, 'builtins.getattr'),
            # numpy 1 and numpy 2 use different names for the same functions.
            (plain_numpy.empty_array, 'numpy._core.multiarray._reconstruct'),
            (plain_numpy.empty_array, 'numpy.core.multiarray._reconstruct'),
            (plain_numpy.number, 'numpy._core.multiarray.scalar'),
            (plain_numpy.number, 'numpy.core.multiarray.scalar'),
        ]
    )


def _history_statistic(owner: Any = None, name: object = None, *rest: object) -> object:
    if not rest and owner is HistoryBuffer and name in HistoryBuffer()._statistics_methods:
        return HistoryBuffer._statistics_methods[name]
    raise pickle.UnpicklingError(
        f'Unsupported global: GLOBAL getattr({owner!r}, {name!r}) was not an allowed global'
    )


def set_aside_broken_torchvision() -> None:
    """Treat a torchvision that does not load with this torch as not installed.

    A torchvision wheel works with one build of torch; with another, importing it raises
    RuntimeError (pytorch/pytorch #157648). mmengine's ``collect_env`` expects only
    ModuleNotFoundError, so that every Runner would fail.
    """
    if 'torchvision' in sys.modules or find_spec('torchvision') is None:
        return
    try:
        importlib.import_module('torchvision')
    except (RuntimeError, ImportError, OSError, AttributeError) as error:
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        sys.modules['torchvision'] = None  # type: ignore[assignment]  # means: not installed
        set_aside['torchvision'] = first_line(error)
        if os.environ.get('RANK', '0') == '0':
            logging.getLogger('mmconvnext').warning(
                'torchvision does not load with torch %s and is ignored (%s); install the build '
                'made for this torch, or uninstall torchvision',
                torch.__version__,
                first_line(error),
            )


def keep_optimizers_uncompiled() -> None:
    """Let ``compile=True`` in a config compile the model, but not the optimizer's step.

    mmengine compiles the whole ``train_step``, optimizer included. torch's compiler fails on the
    optimizer's parameter groups, which are ConfigDicts (``'UserDefinedDictVariable' object has no
    attribute 'items'``, torch 2.13), or compiles again for every new learning rate.
    """
    plain = Runner._maybe_compile
    if hasattr(plain, '__wrapped__'):
        return

    @wraps(plain)
    def maybe_compile(runner: Runner, target: str) -> None:
        optimizer: Any = getattr(runner, 'optim_wrapper', None)
        if runner.cfg.get('compile') and hasattr(optimizer, 'update_params'):
            optimizer.update_params = torch.compiler.disable(optimizer.update_params)
        plain(runner, target)

    Runner._maybe_compile = maybe_compile


def name_package() -> None:
    """Make mmengine's inferencers find this package."""
    MODULE2PACKAGE['mmconvnext'] = 'mmconvnext'


class Patch(NamedTuple):
    """One thing of another package that importing mmconvnext changes.

    ``place`` is what is changed, or what the changed names begin with; ``is_active`` and
    ``is_needed`` look at this process.
    """

    name: str
    place: str
    why: str
    is_active: Callable[[], bool]
    is_needed: Callable[[], bool] = lambda: True

    @property
    def state(self) -> str:
        """``active``, ``not needed``, ``not loaded`` (what is changed) or ``undone``."""
        try:
            if not self.is_needed():
                return 'not needed'
            return 'active' if self.is_active() else 'undone'
        except (ModuleNotFoundError, KeyError):  # no mmcv, or one that cannot be imported
            return 'not loaded'


#: All changes that importing mmconvnext makes in other packages.
PATCHES = (
    Patch(
        'the compiled operators of mmcv',
        'sys.meta_path',
        'mmdet and mmseg import mmcv._ext, which mmcv-lite does not have',
        lambda: find_spec(extension.NAME) is not None,
        lambda: not extension.is_compiled(),
    ),
    Patch(
        'the RoIAlign of a compiled mmcv',
        'mmcv._ext.roi_align',
        'it misreads maps that are not contiguous, and is slow on a CPU',
        lambda: hasattr(sys.modules[extension.NAME].roi_align_forward, '__wrapped__'),
        extension.is_compiled,
    ),
    Patch(
        'the types that torch.load accepts',
        'torch._weights_only_unpickler._marked_safe_globals_set',
        'torch refuses the training state that mmengine saves next to the weights',
        lambda: HistoryBuffer in torch.serialization.get_safe_globals(),
    ),
    Patch(
        'the readers of YAML, JSON and pickle files',
        'mmengine.fileio.handlers.registry_utils.file_handlers',
        "mmengine's readers run code that a file names",
        lambda: isinstance(file_handlers['pkl'], safe_formats.SafePickleHandler),
    ),
    Patch(
        'a torchvision made for another torch',
        'sys.modules.torchvision',
        'every Runner fails with it, so it is treated as not installed',
        lambda: sys.modules.get('torchvision', '') is None,
        lambda: 'torchvision' in set_aside,
    ),
    Patch(
        'compile=True of a Runner',
        'mmengine.runner.runner.Runner._maybe_compile',
        "torch cannot compile the optimizer's step, which mmengine compiles too",
        lambda: hasattr(Runner._maybe_compile, '__wrapped__'),
    ),
    Patch(
        'where inferencers look for configs',
        'mmengine.config.utils.MODULE2PACKAGE',
        'inferencers search only the packages listed there',
        lambda: 'mmconvnext' in MODULE2PACKAGE,
    ),
    Patch(
        'the registries',
        'mmengine.registry.root',
        "a config names a class as type='mmconvnext.ConvNeXt'",
        lambda: MODELS.parent.children.get('mmconvnext') is MODELS,
    ),
)
