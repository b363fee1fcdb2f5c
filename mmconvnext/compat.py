"""What the OpenMMLab stack (mmcv 2.1, mmengine 0.10, mmdet 3.3, mmseg 1.2) needs on today's torch.

Each function answers one failure and does nothing where the failure cannot happen;
:func:`apply` runs them all when mmconvnext is imported. :data:`PATCHES` lists all that the import
changes in other packages.
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

# Packages that are installed but treated as not, and why.
set_aside: dict[str, str] = {}


def apply() -> None:
    """Apply every repair that this environment calls for; safe to call again."""
    extension.install()
    safe_formats.register()  # mmengine's own run what a file names
    allow_mmengine_checkpoints()
    set_aside_broken_torchvision()
    keep_optimizers_uncompiled()
    name_package()


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what mmengine writes beside the weights.

    The message hub of a checkpoint holds HistoryBuffer objects of numpy arrays, which torch's
    safe loader (the default since 2.6) refuses, so that resuming and testing fail
    (open-mmlab/mmengine #1655). The allowed types build plain data and run nothing; ``getattr``,
    by which the buffers refer to their own methods, is replaced by one that gives no other, and
    numpy's functions by those of :mod:`~mmconvnext.config.plain_numpy`.
    """
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            argparse.Namespace,  # the official and timm's training write their arguments
            (plain_numpy.PlainDtype, 'numpy.dtype'),
            (plain_numpy.array_class, 'numpy.ndarray'),
            (plain_numpy.PlainArray, 'state'),  # has a state; without a dot, no file can name it
            (_history_statistic, 'builtins.getattr'),
            # numpy 2 and numpy 1 write the same functions under different names.
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
    """Treat a torchvision that cannot load beside this torch as not installed.

    torchvision's wheels belong to one build of torch; beside another, importing it raises
    RuntimeError (pytorch/pytorch #157648), and mmengine's ``collect_env``, which expects
    ModuleNotFoundError alone, takes every Runner down with it.
    """
    if 'torchvision' in sys.modules or find_spec('torchvision') is None:
        return
    try:
        importlib.import_module('torchvision')
    except (RuntimeError, ImportError, OSError, AttributeError) as error:
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        sys.modules['torchvision'] = None  # type: ignore[assignment]  # says: not installed
        set_aside['torchvision'] = first_line(error)
        if os.environ.get('RANK', '0') == '0':
            logging.getLogger('mmconvnext').warning(
                'torchvision cannot load beside torch %s and is set aside (%s); install the build '
                'made for this torch, or none',
                torch.__version__,
                first_line(error),
            )


def keep_optimizers_uncompiled() -> None:
    """Let ``compile=True`` in a config compile the model and leave the optimizer's step alone.

    mmengine compiles the whole ``train_step``. torch's compiler then meets the optimizer, whose
    parameter groups are ConfigDicts, and fails (``'UserDefinedDictVariable' object has no
    attribute 'items'``, torch 2.13); where it does not, every new learning rate compiles anew.
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
        'torch refuses what mmengine saves beside the weights',
        lambda: HistoryBuffer in torch.serialization.get_safe_globals(),
    ),
    Patch(
        'the readers of YAML, JSON and pickle files',
        'mmengine.fileio.handlers.registry_utils.file_handlers',
        "mmengine's run what a file names",
        lambda: isinstance(file_handlers['pkl'], safe_formats.SafePickleHandler),
    ),
    Patch(
        'a torchvision made for another torch',
        'sys.modules.torchvision',
        'it stops every Runner; it is treated as not installed',
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
        'they find those of the packages that are listed there alone',
        lambda: 'mmconvnext' in MODULE2PACKAGE,
    ),
    Patch(
        'the registries',
        'mmengine.registry.root',
        "a config names a class as type='mmconvnext.ConvNeXt'",
        lambda: MODELS.parent.children.get('mmconvnext') is MODELS,
    ),
)
