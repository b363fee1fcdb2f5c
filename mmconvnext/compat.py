"""What the OpenMMLab stack (mmcv 2.1, mmengine 0.10, mmdet 3.3, mmseg 1.2) needs on today's torch.

Each function answers one failure and does nothing where the failure cannot happen;
:func:`apply` runs them all when mmconvnext is imported.
"""

import argparse
import importlib
import logging
import os
import pickle
import sys
from functools import wraps
from importlib.util import find_spec

import torch
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from mmconvnext.config import plain_numpy, safe_formats
from mmconvnext.errors import first_line
from mmconvnext.ops import extension

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


def _history_statistic(owner: object = None, name: object = None, *rest: object) -> object:
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
        sys.modules['torchvision'] = None  # the import system's way to say: not installed
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
        optimizer = getattr(runner, 'optim_wrapper', None)
        if runner.cfg.get('compile') and hasattr(optimizer, 'update_params'):
            optimizer.update_params = torch.compiler.disable(optimizer.update_params)
        plain(runner, target)

    Runner._maybe_compile = maybe_compile


def name_package() -> None:
    """Make mmengine's inferencers find this package."""
    MODULE2PACKAGE['mmconvnext'] = 'mmconvnext'
