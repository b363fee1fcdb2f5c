import pytest

from mmconvnext import ConvNeXt
from tests.oracles.mmpretrain_file import mmpretrain_convnext


@pytest.mark.parametrize('arch', ['atto', 'tiny', 'small'])
def test_get_layer_depth_matches_mmpretrain(arch: str) -> None:
    ours = ConvNeXt(arch)
    with mmpretrain_convnext() as theirs_class:
        theirs = theirs_class.__new__(theirs_class)
        theirs.depths = list(ours.depths)
        names = [name for name, _ in ours.named_parameters()]
        for name in names:
            assert ours.get_layer_depth(name) == theirs.get_layer_depth(name, ''), name
        for name in [*(f'backbone.{name}' for name in names), 'decode_head.weight']:
            got = ours.get_layer_depth(name, 'backbone.')
            assert got == theirs.get_layer_depth(name, 'backbone.'), name
