import json
import sys
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from safetensors.torch import save_file

from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.checkpoints.read import find_tensors, read_ahead, read_checkpoint
from mmconvnext.errors import CheckpointError

TENSORS = {'a.weight': torch.arange(3.0), 'b.bias': torch.ones(2, dtype=torch.bfloat16)}


def assert_same(read: dict, expected: dict = TENSORS) -> None:
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], expected[key]) for key in expected)


@pytest.mark.parametrize('ending', ['pth', 'pt', 'bin'])
def test_torch_files(tmp_path: Path, ending: str) -> None:
    torch.save(TENSORS, tmp_path / f'a.{ending}')
    assert_same(read_checkpoint(str(tmp_path / f'a.{ending}')))


def test_safetensors_whole_and_sharded(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / 'a.safetensors')
    assert_same(read_checkpoint(str(tmp_path / 'a.safetensors')))
    weight_map = {}
    for number, (key, value) in enumerate(TENSORS.items()):
        weight_map[key] = f'shard-{number}.safetensors'
        save_file({key: value}, tmp_path / weight_map[key])
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': weight_map}))
    assert_same(read_checkpoint(str(index)))
    meta = read_checkpoint(str(index), map_location='meta')
    assert all(value.is_meta for value in meta.values())
    for shard, message in {
        '../secret.safetensors': "expected shards in its folder, found '../secret",
        'shard-0.safetensors': r'its shards do not hold b\.bias',
    }.items():
        index.write_text(json.dumps({'weight_map': {**weight_map, 'b.bias': shard}}))
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(str(index))
    index.write_text(json.dumps({'weight_map': weight_map}))
    (tmp_path / 'shard-1.safetensors').unlink()
    with pytest.raises(CheckpointError, match=r'shard-1\.safetensors: no such checkpoint file'):
        read_checkpoint(str(index))


@pytest.mark.parametrize('name', ['a.safetensors', 'a.safetensors.index.json'])
def test_broken_safetensors(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'<html>')
    with pytest.raises(CheckpointError, match='not a readable checkpoint'):
        read_checkpoint(str(tmp_path / name))


@pytest.mark.parametrize(
    'content',
    [
        TENSORS,
        {**TENSORS, 'epoch': 3},
        {'model': TENSORS, 'model_ema': {}, 'optimizer': {'state': {}}},
        {'state_dict': TENSORS, 'meta': {}},
        {'model': {'state_dict': TENSORS}},
        {'teacher': TENSORS, 'student': {}},
        {'student': TENSORS},
        {'state_dict': {f'module.{key}': value for key, value in TENSORS.items()}},
    ],
    ids=range(8),
)
def test_wrappers(content: dict) -> None:
    assert_same(find_tensors(content, 'a.pth').tensors)


def test_averaged_weights_only_where_they_are_asked_for() -> None:
    averaged = {key: value + 1 for key, value in TENSORS.items()}
    for name in ('model_ema', 'state_dict_ema'):
        content = {'model': TENSORS, name: averaged}
        assert_same(find_tensors(content, 'a.pth').tensors)
        assert find_tensors(content, 'a.pth').place == 'model'
        assert_same(find_tensors(content, 'a.pth', ema=True).tensors, averaged)
        assert find_tensors(content, 'a.pth', ema=True).place == name
    for content in ({'model': TENSORS}, {'state_dict': TENSORS}, [TENSORS]):
        with pytest.raises(
            CheckpointError, match='ema=True: expected averaged weights under model_ema'
        ):
            find_tensors(content, 'a.pth', ema=True)


def test_mmengine_exchanges_the_averaged_weights_when_it_saves() -> None:
    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1, bias=False)

        def forward(self) -> None:
            pass

    model = Model()
    torch.nn.init.constant_(model.layer.weight, 1.0)
    hook = EMAHook()
    hook.before_run(SimpleNamespace(model=model))
    torch.nn.init.constant_(model.layer.weight, 2.0)
    checkpoint = {'state_dict': model.state_dict()}
    hook.before_save_checkpoint(None, checkpoint)
    for ema, value in ((False, 2.0), (True, 1.0)):
        found = find_tensors(checkpoint, 'a.pth', ema=ema)
        assert found.tensors['layer.weight'].item() == value


def test_a_packed_archive_is_refused(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / 'a.pth')
    with (
        ZipFile(tmp_path / 'a.pth') as source,
        ZipFile(tmp_path / 'b.pth', 'w', ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match='got a compressed archive'):
        read_checkpoint(str(tmp_path / 'b.pth'))


def test_wrapped_without_end_or_content() -> None:
    content: object = TENSORS
    for _ in range(9):
        content = {'model': content}
    for wrapped in (content, {}, [], {'model': 3}, None, {'state_dict': None}, {'state_dict': [1]}):
        with pytest.raises(CheckpointError, match='expected a dict of tensors') as raised:
            find_tensors(wrapped, 'a.pth')
        assert 'averaged' not in str(raised.value)
    with pytest.raises(CheckpointError, match='found none but averaged weights, which ema=True'):
        find_tensors({'model_ema': TENSORS}, 'a.pth')


def test_hub_addresses(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match=r'needs huggingface_hub: pip install'):
        fetch('hf://timm/convnext_tiny.fb_in1k/model.safetensors')
    with pytest.raises(CheckpointError, match='expected hf://OWNER/REPOSITORY/FILE'):
        fetch('hf://timm/convnext_tiny')


def test_hub_downloads_and_failures(monkeypatch, tmp_path: Path) -> None:
    class Hub:
        @staticmethod
        def hf_hub_download(repository: str, file: str) -> str:
            if repository != 'timm/convnext':
                raise RuntimeError('gated')
            return str(tmp_path / file)

    monkeypatch.setitem(sys.modules, 'huggingface_hub', Hub)
    (tmp_path / 'model.safetensors.index.json').write_text('{"weight_map": {"a": "b.safetensors"}}')
    save_file({'a': torch.ones(1)}, tmp_path / 'b.safetensors')
    index = 'hf://timm/convnext/model.safetensors.index.json'
    assert_same(read_checkpoint(index), {'a': torch.ones(1)})
    assert fetch('hf://timm/convnext/sub/model.safetensors') == tmp_path / 'sub/model.safetensors'
    with pytest.raises(CheckpointError, match=r'the download failed \(gated\)'):
        fetch('hf://facebook/dinov3/model.safetensors')


def test_a_file_that_was_read_ahead_is_parsed_once(tmp_path: Path, monkeypatch) -> None:
    parsed = []

    def counting(*args: object, **kwargs: object) -> object:
        parsed.append(args)
        return load(*args, **kwargs)

    load = torch.load
    monkeypatch.setattr(torch, 'load', counting)
    path = tmp_path / 'a.pth'
    torch.save({'model': TENSORS}, path)
    content = read_ahead(str(path))
    assert read_checkpoint(str(path), 'meta') is not content, 'asked for otherwise'
    assert read_checkpoint(str(path), mapped=False) is not content
    del parsed[:]
    assert read_checkpoint(str(path)) is content
    assert not parsed
    assert read_checkpoint(str(path)) is not content, 'once'
    read_ahead(str(path))
    torch.save({'model': TENSORS, 'epoch': 3}, path)
    assert read_checkpoint(str(path))['epoch'] == 3, 'it has changed'
    read_ahead(str(path))
    with pytest.raises(CheckpointError, match='expected a SHA-256 of abc'):
        read_checkpoint(str(path), sha256='abc')
