"""mmpretrain 1.2.0's ConvNeXt from its own file, with stand-ins for the rest of mmpretrain.

The package does not import beside transformers 5 and a CPU torch; two of its files do.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from mmengine.model import BaseModule
from mmengine.registry import MODELS, Registry


def _module(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    vars(module).update(content)
    sys.modules[name] = module
    return module


def _read(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def mmpretrain_convnext() -> Iterator[type]:
    """mmpretrain's ConvNeXt class; its stand-ins leave ``sys.modules`` at the end."""
    before = set(sys.modules)
    (root,) = importlib.util.find_spec('mmpretrain').submodule_search_locations
    models = Path(root) / 'models'
    registry = Registry('model', parent=MODELS, scope='mmpretrain')
    for name in ('mmpretrain', 'mmpretrain.models', 'mmpretrain.models.backbones'):
        _module(name)
    _module('mmpretrain.registry', MODELS=registry)
    norm = _read('mmpretrain.models.norm', models / 'utils' / 'norm.py')
    _module('mmpretrain.models.utils', GRN=norm.GRN, build_norm_layer=norm.build_norm_layer)
    _module('mmpretrain.models.backbones.base_backbone', BaseBackbone=BaseModule)
    path = models / 'backbones' / 'convnext.py'
    try:
        yield _read('mmpretrain.models.backbones.convnext', path).ConvNeXt
    finally:
        for name in set(sys.modules) - before:
            if name.startswith('mmpretrain'):
                del sys.modules[name]
        MODELS.children.pop('mmpretrain', None)
