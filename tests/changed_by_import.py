"""What importing modules changes in other packages; run in a fresh interpreter.

    python -m tests.changed_by_import mmconvnext mmconvnext.runner.runner …

Prints, as JSON, the names that have another value after the import than before it: attributes of
the modules and classes of torch, numpy and OpenMMLab, entries of their dictionaries, lists, sets
and registries, and the state of the process. What those packages do to one another does not count:
the modules of others that the import loads are loaded before.
"""

import contextlib
import importlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch

OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg')
LOOKED_AT = (*OPENMMLAB, 'torch', 'numpy', 'cv2', 'yaml')


def root(name: object) -> str:
    return str(name).partition('.')[0]


def import_theirs(modules: list[str]) -> None:
    """Import what the import of ours loads of others."""
    code = f'import sys, {", ".join(modules)}\nprint(*[k for k, v in sys.modules.items() if v])'
    told = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    # mmcv-lite's operators import a compiled module, which nobody provides yet.
    empty = ModuleType('mmcv._ext')
    empty.__getattr__ = _operator
    if find_spec('mmcv') and not find_spec('mmcv._ext'):
        sys.modules['mmcv._ext'] = empty
    for name in told.stdout.split():
        if root(name) not in ('mmconvnext', '__main__'):
            with contextlib.suppress(ImportError):  # some are no modules of their own
                importlib.import_module(name)
    if sys.modules.get('mmcv._ext') is empty:
        del sys.modules['mmcv._ext']


def _operator(name: str) -> object:
    if name.startswith('__'):
        raise AttributeError(name)
    return print


class Names:
    """What every name stands for. It is kept alive, so that nothing else gets its identity."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._seen: set[int] = set()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of names that are deprecated
            for name in sorted(sys.modules):
                if root(name) in LOOKED_AT and sys.modules[name]:
                    self._look_into(name, sys.modules[name])

    def _look_into(self, name: str, value: Any) -> None:
        inside: dict = {}
        if isinstance(value, type) and root(value.__module__) in LOOKED_AT:
            name, inside = f'{value.__module__}.{value.__qualname__}', {**vars(value)}
        elif isinstance(value, ModuleType) and root(value.__name__) in LOOKED_AT:
            name, inside = value.__name__, {**vars(value)}
        elif isinstance(value, dict):
            inside = {repr(key)[:80]: one for key, one in [*value.items()]}
        elif isinstance(value, (list, set)):
            inside = {repr(one)[:80]: one for one in value}
        elif root(type(value).__module__) in OPENMMLAB:  # torch's own have caches
            inside = {**getattr(value, '__dict__', {})}
        if inside and id(value) not in self._seen:
            self._seen.add(id(value))
            self.values |= {f'{name}.{key}': one for key, one in inside.items()}
            for key, one in inside.items():
                self._look_into(f'{name}.{key}', one)


def process() -> Iterator[tuple[str, object]]:
    """What belongs to no module."""
    yield 'warnings.filters', list(warnings.filters)
    yield 'warnings.showwarning', warnings.showwarning
    for name in (None, *logging.root.manager.loggerDict):
        if root(name) != 'mmconvnext':
            logger = logging.getLogger(name)
            yield f'logging.{name}', (logger.level, logger.propagate, *logger.handlers)
    yield 'logging.raiseExceptions', logging.raiseExceptions
    for number in signal.valid_signals():
        yield f'signal.{number}', signal.getsignal(number)
    yield 'os.environ', dict(os.environ)
    yield 'sys.meta_path', list(sys.meta_path)
    yield 'sys.path', (list(sys.path), list(sys.path_hooks))
    yield 'sys.excepthook', (sys.excepthook, sys.unraisablehook)
    yield 'sys.stdout', (sys.stdout, sys.stdout.errors, sys.stderr, sys.stderr.errors)
    yield 'sys.modules.torchvision', sys.modules.get('torchvision', 'not imported')
    yield 'random', (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    yield 'numpy.geterr', (np.geterr(), np.get_printoptions())
    yield 'cv2.threads', cv2.getNumThreads()
    yield 'torch.threads', (torch.get_num_threads(), torch.get_num_interop_threads())
    yield 'torch.defaults', (torch.get_default_dtype(), torch.get_default_device())
    yield 'torch.grad', (torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled())
    yield 'torch.matmul', (torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled)
    cudnn = torch.backends.cudnn
    yield 'torch.cudnn', (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    yield 'torch.operators', sorted(torch._C._dispatch_get_all_op_names())


def changes(modules: list[str]) -> Iterator[str]:
    """The names that importing modules changes, but for those inside of something new."""
    import_theirs(modules)
    before, process_before = Names().values, dict(process())
    for name in modules:
        importlib.import_module(name)
    after, process_after = Names().values, dict(process())
    changed = ''
    for name in sorted(before.keys() | after.keys()):
        is_inside = changed and name.startswith(f'{changed}.')
        if before.get(name, before) is not after.get(name, after) and not is_inside:
            yield (changed := name)
    for name in process_before.keys() | process_after.keys():
        if process_before.get(name) != process_after.get(name):
            yield name


if __name__ == '__main__':
    print(json.dumps([*changes(sys.argv[1:])]))
