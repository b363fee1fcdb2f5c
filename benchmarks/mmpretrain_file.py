"""mmpretrain 1.2.0's ConvNeXt: two of its files, executed in this module.

Their imports from the rest of mmpretrain, which fails with transformers 5 and a CPU torch, are
removed.
"""

import importlib.util
import re
from pathlib import Path

from mmengine.model import BaseModule as BaseBackbone  # noqa: F401  (a name that they use)
from mmengine.registry import MODELS as PARENT
from mmengine.registry import Registry

_package = importlib.util.find_spec('mmpretrain')
if not _package or not _package.submodule_search_locations:
    raise ModuleNotFoundError("No module named 'mmpretrain'", name='mmpretrain')
MODELS = Registry('model', parent=PARENT, scope='mmpretrain_file')
for _name in ('utils/norm.py', 'backbones/convnext.py'):
    _path = Path(*_package.submodule_search_locations) / 'models' / _name
    _text = re.sub(r'^from (mmpretrain|\.).*', '', _path.read_text(), flags=re.MULTILINE)
    exec(compile(_text, _path, 'exec'))
