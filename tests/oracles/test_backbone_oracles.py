"""Every output and every gradient equals timm's, torchvision's and transformers'.

One state dict is mapped across; the bound is max|a − b| ≤ 1e-4 · max|b| per tensor, float32.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.formats import HF, TIMM, TORCHVISION, Format, key_map

SIZES = [(224, 224), (97, 131)]
VERSIONS = [
    pytest.param('tiny', False, id='v1-tiny'),
    pytest.param('atto', True, id='v2-atto'),
    pytest.param('tiny', True, id='v2-tiny'),
]


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


@torch.no_grad()
def copy_parameters(ours: ConvNeXt, rival: nn.Module, format: Format) -> dict[str, Tensor]:
    """Give ``rival`` our weights; returns its parameters under our names."""
    names = {official: theirs for theirs, official in key_map(format, ours.depths).items()}
    theirs = dict(rival.named_parameters())
    matched = {}
    for key, value in ours.named_parameters():
        if key in names:
            matched[key] = theirs[names[key]]
            matched[key].copy_(value.reshape(matched[key].shape))
    return matched


def assert_same(
    ours: ConvNeXt,
    theirs: dict[str, Tensor],
    forward: Callable[[Tensor], Sequence[Tensor]],
    size: tuple[int, int],
) -> None:
    """Compare outputs, gradients of all parameters in ``theirs`` and the input's gradient."""
    expected_names = {name for name, _ in ours.named_parameters()}
    assert set(theirs) == expected_names, expected_names ^ set(theirs)
    image = torch.randn(2, 3, *size)
    results = []
    for function in (ours, forward):
        x = image.clone().requires_grad_()
        outputs = function(x)
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


def output_norms(ours: ConvNeXt) -> tuple[dict[str, Tensor], Callable[[int, Tensor], Tensor]]:
    """norm0–3 for implementations that return plain stage outputs."""
    norms = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in ours.named_parameters()
        if name.startswith('norm')
    }

    def apply(stage: int, x: Tensor) -> Tensor:
        weight, bias = norms[f'norm{stage}.weight'], norms[f'norm{stage}.bias']
        y = F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-6)
        return y.permute(0, 3, 1, 2)

    return norms, apply


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize(('arch', 'use_grn'), VERSIONS)
def test_matches_timm(arch: str, use_grn: bool, size: tuple[int, int]) -> None:
    from timm.models.convnext import ConvNeXt as TimmConvNeXt

    ours = random_backbone(arch, use_grn)
    rival = TimmConvNeXt(
        depths=ours.depths,
        dims=ours.channels,
        use_grn=use_grn,
        ls_init_value=None if use_grn else 1e-6,
        num_classes=0,
    ).eval()
    theirs = copy_parameters(ours, rival, TIMM)
    norms, norm = output_norms(ours)

    def forward(x: Tensor) -> list[Tensor]:
        outputs = []
        x = rival.stem(x)
        for stage, layers in enumerate(rival.stages):
            x = layers(x)
            outputs.append(norm(stage, x))
        return outputs

    assert_same(ours, {**theirs, **norms}, forward, size)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_matches_torchvision(size: tuple[int, int]) -> None:
    from torchvision.models import convnext_tiny

    ours = random_backbone('tiny', use_grn=False)
    rival = convnext_tiny(weights=None).eval()
    theirs = copy_parameters(ours, rival, TORCHVISION)
    norms, norm = output_norms(ours)

    def forward(x: Tensor) -> list[Tensor]:
        outputs = []
        for index, layers in enumerate(rival.features):
            x = layers(x)
            if index % 2:
                outputs.append(norm(index // 2, x))
        return outputs

    assert_same(ours, {**theirs, **norms}, forward, size)


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize(('arch', 'use_grn'), VERSIONS)
def test_matches_transformers(arch: str, use_grn: bool, size: tuple[int, int]) -> None:
    import transformers

    ours = random_backbone(arch, use_grn)
    family = 'ConvNextV2' if use_grn else 'ConvNext'
    config = getattr(transformers, f'{family}Config')(
        depths=list(ours.depths),
        hidden_sizes=list(ours.channels),
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    rival: nn.Module = getattr(transformers, f'{family}Backbone')(config).eval()
    theirs = copy_parameters(ours, rival, HF)
    assert_same(ours, theirs, lambda x: rival(x).feature_maps, size)
