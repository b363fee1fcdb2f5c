"""Files as the rivals save them load here and give their maps; converted back, they load there.

Random weights; the bound is max|a - b| ≤ 1e-4 · max|b|.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import rivals
from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.convert import fit_shape, from_official, to_official
from mmconvnext.checkpoints.formats import HF, MMPRETRAIN, OFFICIAL, TIMM
from tests.oracles.test_backbone_oracles import assert_close

SIZES = {
    'small': ((1, 2, 3, 1), (16, 32, 64, 128)),
    'deep': ((2, 1, 11, 2), (8, 16, 32, 64)),
}
# Of the test that runs; the fixture below sets them.
DEPTHS, CHANNELS = SIZES['small']
SHAPES = {'depths': DEPTHS, 'channels': CHANNELS}


@pytest.fixture(autouse=True, params=SIZES)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file at two sizes, which it reads from these names."""
    depths, channels = SIZES[request.param]
    names = {'DEPTHS': depths, 'CHANNELS': channels}
    names['SHAPES'] = {'depths': depths, 'channels': channels}
    for name, value in names.items():
        monkeypatch.setitem(globals(), name, value)


def randomise(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, spread)
    model.eval()  # mmpretrain's returns None
    return model


def stage_maps(rival: nn.Module, stages: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    """Outputs of the given modules in a forward pass of the whole rival."""
    outputs: list[Tensor] = []
    hooks = [m.register_forward_hook(lambda _m, _i, y: outputs.append(y)) for m in stages]
    rival(x)
    for hook in hooks:
        hook.remove()
    return outputs


def save_state_dict(rival: nn.Module, folder: Path) -> Path:
    torch.save(rival.state_dict(), folder / 'rival.pth')
    return folder / 'rival.pth'


def save_pretrained(rival: nn.Module, folder: Path) -> Path:
    """As transformers saves: in shards with an index here, the last norms in one of them."""
    rival.save_pretrained(folder, max_shard_size='150KB')
    index = folder / 'model.safetensors.index.json'
    return index if index.exists() else folder / 'model.safetensors'


def assert_loads_and_converts_back(
    rival: nn.Module,
    stages: Callable[[nn.Module], Sequence[nn.Module]],
    family: str,
    tmp_path: Path,
    use_grn: bool = False,
    save: Callable[[nn.Module, Path], Path] = save_state_dict,
) -> None:
    ours = ConvNeXt(
        SHAPES,
        use_grn=use_grn,
        init_cfg=dict(type='Pretrained', checkpoint=str(save(rival, tmp_path))),
    ).eval()
    ours.init_weights()
    x = torch.randn(1, 3, 97, 131)
    theirs = stage_maps(rival, stages(rival), x)
    assert len(theirs) == 4
    with torch.no_grad():
        for stage, (our_map, their_map) in enumerate(zip(ours(x), theirs)):
            norm = getattr(ours, f'norm{stage}')
            y = F.layer_norm(
                their_map.permute(0, 2, 3, 1), norm.normalized_shape, norm.weight, norm.bias, 1e-6
            )
            assert_close(our_map, y.permute(0, 3, 1, 2), f'map of stage {stage}')
    assert_converts_back(rival, family)


def assert_converts_back(rival: nn.Module, family: str) -> None:
    """To the official names and back: every tensor of the rival, strictly, unchanged."""
    state = {key: value.clone() for key, value in rival.state_dict().items()}
    recognised = to_official(state, 'rival')
    assert recognised.format.name == family
    assert not recognised.unknown
    back = from_official(recognised.state, recognised.format)
    assert back.keys() == state.keys()
    if family == 'timm':  # 1×1 convolutions, which conversion knows of its small sizes alone
        back = {key: fit_shape(value, state[key].shape) for key, value in back.items()}
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = _first_tensor(rival(x))
        forget(rival)
        rival.load_state_dict(back, strict=True)
        assert_close(_first_tensor(rival(x)), before, "the rival's own output")


def forget(rival: nn.Module) -> None:
    for parameter in rival.parameters():
        parameter.zero_()


def _first_tensor(output: object) -> Tensor:
    return output if torch.is_tensor(output) else next(iter(output.values()))


@pytest.mark.parametrize('conv_mlp', [False, True], ids=['linear', '1x1'])
@pytest.mark.parametrize('use_grn', [False, True], ids=['v1', 'v2'])
def test_matches_timm(use_grn: bool, conv_mlp: bool, tmp_path: Path) -> None:
    rival = randomise(rivals.timm(DEPTHS, CHANNELS, use_grn, conv_mlp=conv_mlp))
    assert_loads_and_converts_back(rival, lambda m: m.stages, 'timm', tmp_path, use_grn)


@pytest.mark.parametrize(
    'name',
    ['convnext_atto', 'convnext_nano', 'convnext_tiny', 'convnextv2_pico', 'convnextv2_tiny'],
)
def test_matches_timm_s_own_sizes(name: str) -> None:
    """The small ones have 1×1 convolutions for linear layers, both ways."""
    import timm

    rival = timm.create_model(name)
    state = {key: value.clone() for key, value in rival.state_dict().items()}
    official = from_official(to_official(state, 'rival').state, OFFICIAL)
    assert official['stages.0.0.pwconv1.weight'].ndim == 2
    back = from_official(official, TIMM)
    rival.load_state_dict(back, strict=True)
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_matches_timm_s_feature_extractor() -> None:
    import timm

    rival = timm.create_model('convnext_atto', features_only=True)
    recognised = to_official(rival.state_dict(), 'rival')
    assert recognised.format is TIMM
    assert not recognised.unknown
    backbone = {k for k in ConvNeXt('atto').state_dict() if not k.startswith('norm')}
    assert recognised.state.keys() == backbone


def test_matches_timm_s_norm_before_the_pooling(tmp_path: Path) -> None:
    options = dict(head_norm_first=True, conv_mlp=True)
    rival = randomise(rivals.timm(DEPTHS, CHANNELS, **options))
    torch.save(rival.state_dict(), tmp_path / 'rival.pth')
    ours = ConvNeXt(
        SHAPES,
        init_cfg=dict(
            type='Pretrained', checkpoint=str(tmp_path / 'rival.pth'), norm3='from_classifier'
        ),
    ).eval()
    ours.init_weights()
    x = torch.randn(1, 3, 97, 131)
    with torch.no_grad():
        # Their last norm stands where ours does.
        assert_close(ours(x)[3], rival.forward_features(x), 'map of stage 3')


def test_matches_openclip_s_trunk(tmp_path: Path) -> None:
    rival = randomise(rivals.timm(DEPTHS, CHANNELS, num_classes=0))

    def save(rival: nn.Module, folder: Path) -> Path:
        trunk = {f'visual.trunk.{key}': value for key, value in rival.state_dict().items()}
        rest = {'visual.head.proj.weight': torch.zeros(2, 2), 'logit_scale': torch.ones(1)}
        torch.save({**trunk, **rest}, folder / 'open_clip_pytorch_model.bin')
        return folder / 'open_clip_pytorch_model.bin'

    assert_loads_and_converts_back(rival, lambda m: m.stages, 'timm', tmp_path, save=save)


def test_matches_torchvision(tmp_path: Path) -> None:
    rival = randomise(rivals.torchvision(DEPTHS, CHANNELS))
    assert_loads_and_converts_back(
        rival, lambda m: [m.features[i] for i in (1, 3, 5, 7)], 'torchvision', tmp_path
    )


@pytest.mark.parametrize('classifier', [False, True], ids=['model', 'classifier'])
@pytest.mark.parametrize('use_grn', [False, True], ids=['v1', 'v2'])
def test_matches_transformers(use_grn: bool, classifier: bool, tmp_path: Path) -> None:
    kind = 'ForImageClassification' if classifier else 'Model'
    rival = randomise(rivals.transformers(kind, DEPTHS, CHANNELS, use_grn))
    body = rival.base_model
    assert_loads_and_converts_back(
        rival, lambda _: body.encoder.stages, 'hf', tmp_path, use_grn, save_pretrained
    )


def test_matches_transformers_upernet(tmp_path: Path) -> None:
    import transformers

    stages = ['stage1', 'stage2', 'stage3', 'stage4']
    backbone = transformers.ConvNextConfig(
        depths=list(DEPTHS), hidden_sizes=list(CHANNELS), out_features=stages
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_in_channels=CHANNELS[2], num_labels=3
    )
    rival = randomise(transformers.UperNetForSemanticSegmentation(config))
    init = dict(type='Pretrained', checkpoint=str(save_pretrained(rival, tmp_path)))
    ours = ConvNeXt(SHAPES, init_cfg=init).eval()
    ours.init_weights()
    x = torch.randn(1, 3, 97, 131)
    with torch.no_grad():
        theirs = rival.backbone(x).feature_maps
        for our_map, their_map in zip(ours(x), theirs):
            assert_close(our_map, their_map, 'map')
        forget(rival.backbone)
        rival.backbone.load_state_dict(from_official(ours.state_dict(), HF), strict=True)
        for again, their_map in zip(rival.backbone(x).feature_maps, theirs):
            assert_close(again, their_map, "the rival's own map")


def test_matches_transformers_dinov3(tmp_path: Path) -> None:
    import transformers

    config = transformers.DINOv3ConvNextConfig(depths=list(DEPTHS), hidden_sizes=list(CHANNELS))
    rival = randomise(transformers.DINOv3ConvNextModel(config))
    stages = next(m.stages for m in rival.modules() if hasattr(m, 'stages'))
    assert_loads_and_converts_back(
        rival, lambda _: stages, 'hf-dinov3', tmp_path, save=save_pretrained
    )


@pytest.mark.parametrize('use_grn', [False, True], ids=['v1', 'v2'])
def test_matches_mmpretrain(use_grn: bool, tmp_path: Path) -> None:
    """A whole downstream backbone, its output norms included."""
    options = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False, frozen_stages=0)
    rival = randomise(rivals.mmpretrain(DEPTHS, CHANNELS, use_grn, **options))
    state = {f'backbone.{key}': value for key, value in rival.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'rival.pth')
    ours = ConvNeXt(
        SHAPES,
        use_grn=use_grn,
        layer_scale_init_value=None if use_grn else 1.0,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'rival.pth')),
    ).eval()
    ours.init_weights()
    x = torch.randn(1, 3, 97, 131)
    with torch.no_grad():
        theirs = rival(x)
        for stage, (our_map, their_map) in enumerate(zip(ours(x), theirs)):
            assert_close(our_map, their_map, f'map of stage {stage}')
        forget(rival)
        rival.load_state_dict(from_official(ours.state_dict(), MMPRETRAIN), strict=True)
        for again, their_map in zip(rival(x), theirs):
            assert_close(again, their_map, "the rival's own map")


def test_matches_mmpretrain_s_classifier(tmp_path: Path) -> None:
    """Its last norm, called norm3, is the classifier's."""
    rival = randomise(rivals.mmpretrain(DEPTHS, CHANNELS))
    state = {f'backbone.{key}': value.clone() for key, value in rival.state_dict().items()}
    head = {'head.fc.weight': torch.rand(5, CHANNELS[3]), 'head.fc.bias': torch.rand(5)}
    recognised = to_official(state | head, 'rival')
    assert recognised.format is MMPRETRAIN
    assert not recognised.unknown
    assert {'norm.weight', 'head.weight'} <= recognised.state.keys()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        (expected,) = rival(x)
        forget(rival)
        back = from_official(recognised.state, MMPRETRAIN)
        assert back.keys() == (state | head).keys()
        own = {k.removeprefix('backbone.'): v for k, v in back.items() if 'head.' not in k}
        rival.load_state_dict(own, strict=True)
        assert_close(rival(x)[0], expected, 'features after pooling and norm')
