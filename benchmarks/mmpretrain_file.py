"""mmpretrain 1.2.0's ConvNeXt from its own file, with stand-ins for the rest of mmpretrain.

The package does not import beside transformers 5 and a CPU torch; two of its files do.
"""

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

from mmengine.model import BaseModule
from mmengine.registry import MODELS, Registry
from torch import nn


def mmpretrain_convnext(**options: object) -> nn.Module:
    """Mmpretrain's ConvNeXt; the stand-ins leave ``sys.modules`` when it is built."""
    # Importing mmseg or mmdet may have left parts of the real one there.
    before = _set_aside()
    logging.disable(logging.WARNING)  # mmengine finds mmpretrain, and not the whole of it
    try:
        return _their_class()(**options)
    finally:
        logging.disable(logging.NOTSET)
        _set_aside()
        sys.modules.update(before)
        MODELS.children.pop('mmpretrain', None)


def _their_class() -> type:
    (root,) = importlib.util.find_spec('mmpretrain').submodule_search_locations
    models = Path(root) / 'models'
    for name in ('mmpretrain', 'mmpretrain.models', 'mmpretrain.models.backbones'):
        _module(name)
    registry = Registry('model', parent=MODELS, scope='mmpretrain')
    _module('mmpretrain.registry', MODELS=registry)
    norm = _read('mmpretrain.models.norm', models / 'utils' / 'norm.py')
    _module('mmpretrain.models.utils', GRN=norm.GRN, build_norm_layer=norm.build_norm_layer)
    _module('mmpretrain.models.backbones.base_backbone', BaseBackbone=BaseModule)
    path = models / 'backbones' / 'convnext.py'
    return _read('mmpretrain.models.backbones.convnext', path).ConvNeXt


def _set_aside() -> dict[str, ModuleType]:
    """Take all of mmpretrain out of ``sys.modules``."""
    names = [name for name in sys.modules if name.split('.')[0] == 'mmpretrain']
    return {name: sys.modules.pop(name) for name in names}


def _module(name: str, **content: object) -> None:
    module = ModuleType(name)
    module.__path__ = []
    vars(module).update(content)
    sys.modules[name] = module


def _read(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
