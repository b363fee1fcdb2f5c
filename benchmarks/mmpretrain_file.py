"""mmpretrain 1.2.0's ConvNeXt from its own file, with stand-ins for the rest of mmpretrain.

The package does not import beside transformers 5 and a CPU torch; two of its files do.
"""

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

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


def _set_aside() -> dict[str, ModuleType]:
    """Take all of mmpretrain out of ``sys.modules``."""
    names = [name for name in sys.modules if name.split('.')[0] == 'mmpretrain']
    return {name: sys.modules.pop(name) for name in names}


def _their_class() -> type:
    package: Any = importlib.util.find_spec('mmpretrain')
    models = Path(*package.submodule_search_locations) / 'models'
    for name in ('', '.models', '.models.backbones'):
        _stand_in(name)
    _stand_in('.registry', MODELS=Registry('model', parent=MODELS, scope='mmpretrain'))
    norm = _read('.models.norm', models / 'utils' / 'norm.py')
    _stand_in('.models.utils', GRN=norm.GRN, build_norm_layer=norm.build_norm_layer)
    _stand_in('.models.backbones.base_backbone', BaseBackbone=BaseModule)
    return _read('.models.backbones.convnext', models / 'backbones' / 'convnext.py').ConvNeXt


def _stand_in(name: str, **content: object) -> None:
    module = sys.modules[f'mmpretrain{name}'] = ModuleType(f'mmpretrain{name}')
    vars(module).update(content, __path__=[])


def _read(name: str, path: Path) -> ModuleType:
    spec: Any = importlib.util.spec_from_file_location(f'mmpretrain{name}', path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
