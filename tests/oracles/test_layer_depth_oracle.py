"""``get_layer_depth`` equals mmpretrain's.

Its file is read alone: the package does not import.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmconvnext import ConvNeXt


def load_mmpretrain_convnext() -> type:
    """mmpretrain 1.2.0's ConvNeXt, with stand-ins for the rest of mmpretrain."""
    root = importlib.util.find_spec('mmpretrain').submodule_search_locations[0]
    path = Path(root) / 'models' / 'backbones' / 'convnext.py'
    names = ['mmpretrain', 'mmpretrain.models', 'mmpretrain.models.backbones']
    for name in [*names, 'mmpretrain.registry', 'mmpretrain.models.utils']:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = []
    base = ModuleType('mmpretrain.models.backbones.base_backbone')
    base.BaseBackbone = object
    sys.modules[base.__name__] = base
    utils = sys.modules['mmpretrain.models.utils']
    utils.GRN = utils.build_norm_layer = None

    class Registry:
        def register_module(self, *args, **kwargs):
            return lambda cls: cls

    sys.modules['mmpretrain.registry'].MODELS = Registry()
    spec = importlib.util.spec_from_file_location('mmpretrain.models.backbones.convnext', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ConvNeXt


@pytest.fixture(scope='module')
def mmpretrain_convnext():
    before = set(sys.modules)
    yield load_mmpretrain_convnext()
    for name in set(sys.modules) - before:
        if name.startswith('mmpretrain'):
            del sys.modules[name]


@pytest.mark.parametrize('arch', ['atto', 'tiny', 'small'])
def test_get_layer_depth_matches_mmpretrain(arch: str, mmpretrain_convnext) -> None:
    ours = ConvNeXt(arch)
    theirs = mmpretrain_convnext.__new__(mmpretrain_convnext)
    theirs.depths = list(ours.depths)
    for prefix in ('', 'backbone.'):
        for name in [*(prefix + n for n, _ in ours.named_parameters()), 'decode_head.weight']:
            if prefix == '' and name.startswith('decode_head'):
                continue
            got = ours.get_layer_depth(name, prefix)
            assert got == theirs.get_layer_depth(name, prefix), name
