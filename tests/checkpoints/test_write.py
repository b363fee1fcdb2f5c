from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from safetensors import safe_open

from mmconvnext import ConvNeXt
from mmconvnext.backbones import ARCHITECTURES
from mmconvnext.checkpoints.convert import fit_shape, from_official, to_official
from mmconvnext.checkpoints.description import _announce
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.write import TARGETS, convert_checkpoint
from mmconvnext.errors import CheckpointError


@pytest.fixture
def official(small_backbone, tmp_path: Path):
    """Writes an official classifier file of one version and dtype; gives it and its tensors."""

    def write(use_grn: bool, dtype: torch.dtype) -> tuple[Path, dict[str, torch.Tensor]]:
        state = small_backbone(use_grn=use_grn).state_dict()
        state = {key: value for key, value in state.items() if not key.startswith('norm')}
        state |= {'norm.weight': torch.rand(32), 'norm.bias': torch.rand(32)}
        state |= {'head.weight': torch.rand(5, 32), 'head.bias': torch.rand(5)}
        state = {
            key: (value.reshape(1, 1, 1, -1) if '.grn.' in key else value).to(dtype)
            for key, value in state.items()
        }
        torch.save({'model': state}, tmp_path / 'official.pth')
        return tmp_path / 'official.pth', state

    return write


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('use_grn', [False, True], ids=['v1', 'v2'])
@pytest.mark.parametrize('to', ['official', 'mmpretrain', 'timm', 'torchvision', 'hf'])
def test_round_trip_is_the_identity(official, tmp_path, to, use_grn, ending, dtype) -> None:
    source, state = official(use_grn, dtype)
    there, back = tmp_path / f'there.{ending}', tmp_path / f'back.{ending}'
    if use_grn and 'grn_gamma' not in TARGETS[to].parts:
        with pytest.raises(CheckpointError, match=f'{to} has no place for'):
            convert_checkpoint(source, there, to=to)
        assert not there.exists()
        return
    convert_checkpoint(str(source), there, to=to)
    assert convert_checkpoint(str(there), back).format is TARGETS[to]
    again = read_checkpoint(str(back))
    assert again.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(again[key], value), key
        assert again[key].dtype == dtype


@pytest.mark.parametrize('to', ['official', 'mmpretrain', 'timm', 'torchvision', 'hf'])
@pytest.mark.parametrize('size', ARCHITECTURES)
def test_round_trip_at_every_size(size: str, to: str) -> None:
    with torch.device('meta'):
        backbone = ConvNeXt(size)
    state = {
        # Each tensor of a size its own values, and no memory: one number repeated.
        key: torch.tensor(float(number)).expand(value.shape)
        for number, (key, value) in enumerate(backbone.state_dict().items())
        if not key.startswith('norm')
    }
    back = to_official(from_official(state, TARGETS[to]), 'a.pth')
    assert back.format is TARGETS[to]
    assert back.state.keys() == state.keys()
    for key, value in state.items():
        again = fit_shape(back.state[key], value.shape)
        assert again.shape == value.shape
        assert again.flatten()[0] == value.flatten()[0], key


def test_timm_s_hidden_layer_of_the_head_goes_with_the_head(official, tmp_path) -> None:
    source, _ = official(False, torch.float32)
    convert_checkpoint(str(source), tmp_path / 'timm.pth', to='timm')
    state = read_checkpoint(str(tmp_path / 'timm.pth'))
    state['head.pre_logits.fc.weight'] = torch.ones(32, 32)
    torch.save(state, tmp_path / 'mlp.pth')
    recognised = convert_checkpoint(str(tmp_path / 'mlp.pth'), tmp_path / 'back.pth')
    assert {'head.weight', 'head.pre_logits.fc.weight'} <= set(recognised.aside)
    converted = read_checkpoint(str(tmp_path / 'back.pth'))
    assert 'norm.weight' in converted
    assert 'head.weight' not in converted


def test_an_output_norm_is_not_given_away_as_a_classifier_s(small_backbone, tmp_path) -> None:
    torch.save(small_backbone(out_indices=(3,)).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='mmpretrain: expected all output norms or none'):
        convert_checkpoint(str(tmp_path / 'a.pth'), tmp_path / 'b.pth', to='mmpretrain')
    assert not (tmp_path / 'b.pth').exists()


def test_a_destination_is_replaced_on_request_alone(official, tmp_path) -> None:
    source, _ = official(False, torch.float32)
    (tmp_path / 'a.pth').write_text('mine')
    with pytest.raises(CheckpointError, match='exists; give --force'):
        convert_checkpoint(str(source), tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_text() == 'mine'
    convert_checkpoint(str(source), tmp_path / 'a.pth', force=True)
    assert 'head.weight' in read_checkpoint(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_a_destination_that_cannot_be_written(official, tmp_path, ending: str) -> None:
    source, _ = official(False, torch.float32)
    for destination in (f'{source}/a.{ending}', f'/proc/a.{ending}'):
        with pytest.raises(CheckpointError, match='could not be written'):
            convert_checkpoint(str(source), destination)


def test_a_neighbour_and_a_link_stay(official, tmp_path) -> None:
    source, state = official(False, torch.float32)
    shared = {**state, 'norm.bias': state['norm.weight']}
    torch.save(shared, source)
    (tmp_path / 'a.safetensors.partial').write_text('mine')
    (tmp_path / 'link.safetensors').symlink_to(tmp_path / 'a.safetensors')
    convert_checkpoint(str(source), tmp_path / 'link.safetensors')
    assert (tmp_path / 'a.safetensors.partial').read_text() == 'mine'
    assert (tmp_path / 'link.safetensors').is_symlink()
    assert len(read_checkpoint(str(tmp_path / 'a.safetensors'))) == len(shared)


def test_incomplete_sources(official, tmp_path) -> None:
    source, state = official(False, torch.float32)
    for change, message in (
        ({'stages.2.0.gamma': None}, r'stages\.2\.0\.gamma missing'),
        (
            {'stages.1.0.pwconv1.weight': torch.ones(3, 3)},
            r'stages\.1\.0\.pwconv1\.weight \(3, 3\)',
        ),
        ({'norm.bias': None}, r'norm\.bias missing'),
        ({'stages.3.0.dwconv.weight': None}, 'expected four stages'),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        torch.save(changed, source)
        with pytest.raises(CheckpointError, match=message):
            convert_checkpoint(str(source), tmp_path / 'a.pth')
    assert not (tmp_path / 'a.pth').exists()


def test_output_norms_are_left_aside_where_there_is_no_place(small_backbone, tmp_path) -> None:
    torch.save(small_backbone().state_dict(), tmp_path / 'a.pth')
    recognised = convert_checkpoint(str(tmp_path / 'a.pth'), tmp_path / 'b.pth', to='timm')
    assert len(recognised.aside) == 8
    mixed = {
        **small_backbone().state_dict(),
        'norm.weight': torch.ones(32),
        'norm.bias': torch.ones(32),
    }
    torch.save(mixed, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='one name for norm and norm3'):
        convert_checkpoint(str(tmp_path / 'a.pth'), tmp_path / 'c.pth', to='mmpretrain')


def test_nothing_is_written_of_what_cannot_be_converted(official, tmp_path) -> None:
    source, state = official(False, torch.float32)
    with pytest.raises(CheckpointError, match=r'expected an ending of \.pth'):
        convert_checkpoint(str(source), tmp_path / 'a.zip')
    extra = {f'stages.0.0.extra{number}': torch.ones(1) for number in range(6)}
    torch.save({**state, **extra}, source)
    with pytest.raises(
        CheckpointError, match=r'official has no such tensors: stages\.0\.0\.extra0, .*extra4$'
    ):
        convert_checkpoint(str(source), tmp_path / 'a.pth')
    torch.save({**state, 'head.bias': torch.full((5,), torch.nan)}, source)
    with pytest.raises(CheckpointError, match=r'expected finite numbers.*: head\.bias'):
        convert_checkpoint(str(source), tmp_path / 'a.pth')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['official.pth']


@pytest.mark.parametrize('ending', ['pth', 'pt', 'bin', 'safetensors'])
def test_every_ending_in_a_new_folder(official, tmp_path, ending: str) -> None:
    source, state = official(False, torch.float32)
    destination = tmp_path / 'new' / 'folder' / f'a.{ending}'
    convert_checkpoint(str(source), destination)
    assert read_checkpoint(str(destination)).keys() == state.keys()
    assert [path.name for path in destination.parent.iterdir()] == [destination.name]
    if ending == 'safetensors':
        with safe_open(destination, 'pt') as file:
            assert file.metadata() == {'format': 'pt'}, 'transformers refuses others'


def test_a_licence_is_said(official, tmp_path, capsys) -> None:
    _announce.cache_clear()
    source, _ = official(True, torch.float32)
    MMLogger.get_instance('converted', logger_name='converted')
    convert_checkpoint(str(source), tmp_path / 'a.pth')
    said = capsys.readouterr()
    assert 'CC BY-NC' in said.out + said.err
