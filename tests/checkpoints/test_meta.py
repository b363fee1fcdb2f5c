import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmconvnext.checkpoints.meta import described, find_meta
from mmconvnext.checkpoints.read import HEADER_KEY, find_tensors, read_checkpoint
from mmconvnext.errors import CheckpointError

NEW = {'dataset_meta': {'classes': ('a', 'b'), 'palette': [[1, 2, 3], [4, 5, 6]]}, 'cfg': 'x = 1'}
OLD = {'CLASSES': ('a', 'b'), 'PALETTE': [[1, 2, 3], [4, 5, 6]], 'config': 'x = 1'}


def read_meta(path: str) -> dict[str, object]:
    return described(find_meta(read_checkpoint(path, 'meta')))


@pytest.mark.parametrize('meta', [NEW, OLD], ids=['mmengine', 'mmcv 1'])
def test_every_generation_is_read_alike(tmp_path: Path, meta: dict) -> None:
    torch.save({'meta': meta, 'state_dict': {'a': torch.ones(1)}}, tmp_path / 'a.pth')
    assert read_meta(str(tmp_path / 'a.pth')) == {
        'classes': ('a', 'b'),
        'palette': [[1, 2, 3], [4, 5, 6]],
        'cfg': 'x = 1',
    }


@pytest.mark.parametrize('map_location', ['cpu', 'meta'])
def test_safetensors_give_their_meta_back(tmp_path: Path, map_location: str) -> None:
    path = str(tmp_path / 'a.safetensors')
    save_file({'a': torch.ones(2)}, path, metadata={HEADER_KEY: json.dumps(NEW)})
    content = read_checkpoint(path, map_location)
    assert content['meta'] == json.loads(json.dumps(NEW))
    assert find_tensors(content, path).tensors['a'].shape == (2,)
    assert read_meta(path)['classes'] == ['a', 'b']


@pytest.mark.parametrize('meta', [{}, {'dataset_meta': None}, None, 'text'])
def test_none_is_an_empty_dict(tmp_path: Path, meta: object) -> None:
    torch.save({'meta': meta, 'a': torch.ones(1)}, tmp_path / 'a.pth')
    save_file({'a': torch.ones(2)}, tmp_path / 'a.safetensors', metadata={'format': 'pt'})
    assert read_meta(str(tmp_path / 'a.pth')) == read_meta(str(tmp_path / 'a.safetensors')) == {}


def test_a_broken_header_is_one_line(tmp_path: Path) -> None:
    save_file({'a': torch.ones(2)}, tmp_path / 'a.safetensors', metadata={HEADER_KEY: '{'})
    with pytest.raises(CheckpointError, match='not a readable checkpoint'):
        read_meta(str(tmp_path / 'a.safetensors'))
