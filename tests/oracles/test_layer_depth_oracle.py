import pytest

from benchmarks.rivals import mmpretrain
from mmconvnext import ConvNeXt


@pytest.mark.parametrize('arch', ['atto', 'tiny', 'small'])
def test_get_layer_depth_matches_mmpretrain(arch: str) -> None:
    ours = ConvNeXt(arch)
    theirs = mmpretrain(ours.depths, ours.channels)
    names = [name for name, _ in ours.named_parameters()]
    for name in names:
        assert ours.get_layer_depth(name) == theirs.get_layer_depth(name, ''), name
    for name in [*(f'backbone.{name}' for name in names), 'decode_head.weight']:
        got = ours.get_layer_depth(name, 'backbone.')
        assert got == theirs.get_layer_depth(name, 'backbone.'), name
