"""Every output and every gradient equals timm's, torchvision's, transformers' and mmpretrain's.

One state dict is mapped across; the bound is max|a - b| ≤ 1e-4 · max|b| per tensor, float32.
"""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from benchmarks.rivals import BACKBONES, build_backbone
from mmconvnext import ConvNeXt

SIZES = [(224, 224), (97, 131)]
VERSIONS = [('tiny', False), ('atto', True), ('tiny', True)]


def random_backbone(arch: str, use_grn: bool) -> ConvNeXt:
    torch.manual_seed(0)
    backbone = ConvNeXt(arch, use_grn=use_grn).eval()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            scale = 'norm' in name or 'gamma' in name or 'downsample_layers' in name
            around = 1.0 if scale and parameter.ndim == 1 and 'bias' not in name else 0.0
            spread = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(around, spread)
            # Small activations before a LayerNorm, so that its epsilon matters.
            if parameter.ndim == 4:
                parameter.mul_(0.01)
    return backbone


def assert_same(
    ours: ConvNeXt, rival: nn.Module, names: Mapping[str, str], size: tuple[int, int]
) -> None:
    """Compare outputs, the gradients of all parameters and the input's gradient."""
    theirs = {names[own]: parameter for own, parameter in rival.named_parameters() if own in names}
    expected_names = {name for name, _ in ours.named_parameters()}
    assert set(theirs) == expected_names, expected_names ^ set(theirs)
    image = torch.randn(2, 3, *size)
    results = []
    for model in (ours, rival):
        x = image.clone().requires_grad_()
        outputs = model(x)
        torch.manual_seed(1)
        sum((y * torch.randn(y.shape)).sum() for y in outputs).backward()
        results.append((outputs, x.grad))
    (our_outputs, our_grad), (their_outputs, their_grad) = results
    assert len(our_outputs) == len(their_outputs) == 4
    for ours_i, theirs_i in zip(our_outputs, their_outputs):
        assert_close(ours_i, theirs_i, 'output')
    assert_close(our_grad, their_grad, 'gradient of the input')
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs[name].grad, f'gradient of {name}')


def assert_close(ours: Tensor, theirs: Tensor, what: str) -> None:
    theirs = theirs.reshape(ours.shape)
    error, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    assert error <= 1e-4 * scale, f'{what}: {error} for values up to {scale}'


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize(
    ('rival', 'arch', 'use_grn'),
    [
        (rival, *version)
        for rival in BACKBONES
        for version in VERSIONS
        if rival != 'torchvision' or version == ('tiny', False)  # which has no V2
    ],
)
def test_matches(rival: str, arch: str, use_grn: bool, size: tuple[int, int]) -> None:
    ours = random_backbone(arch, use_grn)
    model, names = build_backbone(ours, dict(use_grn=use_grn), rival)
    model.train(False)
    assert_same(ours, model, names, size)
