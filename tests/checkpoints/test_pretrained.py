import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import save_file

import mmconvnext
from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.pretrained import PRETRAINED, find_pretrained, list_models
from mmconvnext.errors import ArgumentError, CheckpointError
from tests.conftest import ROOT


def test_list_models() -> None:
    assert mmconvnext.list_models is list_models
    assert list_models('*_fcmae') == [
        f'convnextv2_{size}_fcmae' for size in ('atto', 'femto', 'pico', 'nano', 't', 'b', 'l', 'h')
    ]
    assert 'convnext_t_in22k' in list_models('*_in22k*')
    assert len(list_models()) == len(PRETRAINED) == 20 + 26 + 4


def test_names_and_files_are_the_metafiles() -> None:
    models = yaml.safe_load((ROOT / 'configs/metafile.yml').read_text())['Models']
    classifiers = [one for one in models if one['Name'] in PRETRAINED]
    assert len(classifiers) == 18
    for one in classifiers:
        assert one['Weights'] == PRETRAINED[one['Name']].checkpoint
    # What the configs start from, but for files that are no averages of the published training.
    files = {one.checkpoint for one in PRETRAINED.values()}
    starts = {one['Metadata'].get('Starts From') for one in models} - {None}
    assert {url for url in starts - files if not url.endswith('_1k_224.pth')} == set()


def test_matches_timm_on_the_addresses() -> None:
    """timm 1.0.31 lists the same files; its own server has V1's alone."""
    path = ROOT / '.rivals/timm/models/convnext.py'
    if not path.is_file():
        pytest.skip('timm is not in .rivals')
    text = path.read_text()
    for name, one in PRETRAINED.items():
        place = 0 if one.checkpoint.startswith('hf:') else -1
        part = one.checkpoint.removeprefix('hf://timm/').split('/')[place]
        assert part.replace('convnext_', '', 1) in text, name


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    return tmp_path / 'checkpoints'


@pytest.fixture
def published(hub: Path) -> ConvNeXt:
    """A model whose weights lie where a published file would, as its authors name them."""
    model = ConvNeXt('atto', use_grn=True)
    model.init_weights()
    state = {key: value for key, value in model.state_dict().items() if key[:4] != 'norm'}
    state = {key: x[None, None, None] if '.grn.' in key else x for key, x in state.items()}
    state |= {'norm.weight': torch.rand(320), 'norm.bias': torch.rand(320)}
    state |= {'head.weight': torch.rand(1000, 320), 'head.bias': torch.rand(1000)}
    torch.save({'model': state}, hub / 'convnextv2_atto_1k_224_ema.pt')
    return model


def test_from_pretrained(published: ConvNeXt) -> None:
    model = ConvNeXt.from_pretrained('convnextv2_atto_in1k', out_indices=(1, -1), with_cp=True)
    assert not model.training
    assert (model.out_channels, model.strides) == ((80, 320), (8, 32))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(map(torch.equal, model(x), published.eval()(x)[1::2]))


def test_from_pretrained_takes_options_of_loading(published: ConvNeXt) -> None:
    options = dict(norm3='from_classifier', stem='repeat', in_channels=4)
    model = ConvNeXt.from_pretrained('convnextv2_atto_in1k', **options)
    assert model.norm3.weight.ne(1).all()
    assert model.downsample_layers[0][0].weight.shape[1] == 4


def test_an_unknown_name() -> None:
    with pytest.raises(ArgumentError, match=r"got 'convnext_tiny_in22k'; did you mean convnext_"):
        find_pretrained('convnext_tiny_in22k')
    with pytest.raises(ArgumentError, match=r'list_models\(\) returns, got .resnet50.$'):
        ConvNeXt.from_pretrained('resnet50')


def test_without_a_network(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError('no route to host')

    monkeypatch.setattr('mmconvnext.checkpoints.fetch.urlopen', refuse)
    with pytest.raises(CheckpointError) as caught:
        ConvNeXt.from_pretrained('convnextv2_femto_fcmae')
    message = str(caught.value)
    assert '\n' not in message
    assert f'put the file at {hub / "convnextv2_femto_1k_224_fcmae.pt"} by hand' in message
    assert PRETRAINED['convnextv2_femto_fcmae'].checkpoint in message


def test_dinov3_without_a_network(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError('no route to host')

    monkeypatch.setitem(sys.modules, 'huggingface_hub', SimpleNamespace(hf_hub_download=refuse))
    with pytest.raises(CheckpointError) as caught:
        ConvNeXt.from_pretrained('convnext_t_dinov3')
    repository = 'convnext_tiny.dinov3_lvd1689m'
    page = f'https://huggingface.co/timm/{repository}/resolve/main/model.safetensors'
    place = hub / repository / 'model.safetensors'
    assert str(caught.value).endswith(f'put {page} at {place} by hand')
    place.parent.mkdir()
    save_file(ConvNeXt('tiny').state_dict(), place)
    ConvNeXt.from_pretrained('convnext_t_dinov3')
