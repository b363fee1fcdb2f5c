import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import mmengine.config
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmconvnext.checkpoints.fetch import fetch, named_hash
from mmconvnext.checkpoints.meta import described, find_meta
from mmconvnext.checkpoints.publish import _beginning, publish
from mmconvnext.checkpoints.read import find_tensors, read_checkpoint
from mmconvnext.config.config_file import Config
from mmconvnext.config.literal_source import read_literals
from mmconvnext.errors import CheckpointError, UserError
from tests.config.foreign import NAMES, TEXT
from tests.conftest import CONFIGS

ENDINGS = pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
CFG = (
    "model = dict(type='EncoderDecoder')\nwork_dir = '/home/me/secret'\nrandomness = dict(seed=3)\n"
)


def read_meta(path: str) -> dict[str, object]:
    return described(find_meta(read_checkpoint(path, 'meta')))


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {
        'backbone.a': torch.full((2, 3), value),
        'head.b': torch.full((3,), value, dtype=torch.float16),
        'norm.num_batches_tracked': torch.tensor(7),
    }


def training(**more: object) -> dict:
    """What mmengine's runner saves."""
    return {
        'meta': {
            'dataset_meta': {
                'classes': ('cat', 'dog'),
                'palette': np.array([[1, 2, 3], [4, 5, 6]]),
                'seg_map_suffix': '.png',
            },
            'cfg': CFG,
            'seed': 3,
            'experiment_name': 'secret_20261125',
            'time': '20261125_000000',
            'mmengine_version': '0.10.7' + '1a' * 20,
            'epoch': 0,
            'iter': 4,
        },
        'state_dict': weights(),
        'optimizer': {'state': {0: {'exp_avg': torch.ones(5000)}}},
        'message_hub': {'loss': HistoryBuffer([1.0], [1])},
        **more,
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(training(), tmp_path / 'iter_4.pth')
    return tmp_path / 'iter_4.pth'


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


@ENDINGS
def test_keeps_weights_classes_and_config_and_nothing_else(checkpoint: Path, ending: str) -> None:
    published = publish(str(checkpoint), checkpoint.parent / f'out/model{ending}')
    content = read_checkpoint(str(published.path))
    assert content.keys() == {'state_dict', 'meta'}
    assert_equal(content['state_dict'], weights())
    assert (
        content['meta']
        == published.meta
        == {
            'dataset_meta': {'classes': ['cat', 'dog'], 'palette': [[1, 2, 3], [4, 5, 6]]},
            'cfg': "model = dict(type='EncoderDecoder')\n",
            'iter': 4,
            'mmconvnext_version': published.meta['mmconvnext_version'],
            'mmengine_version': '0.10.7',
        }
    )
    assert b'secret' not in published.path.read_bytes()
    assert published.path.stat().st_size < checkpoint.stat().st_size / 2
    assert read_meta(str(published.path))['classes'] == ['cat', 'dog']
    assert published.path.stat().st_mode & 0o777 == checkpoint.stat().st_mode & 0o777
    assert [p.name for p in published.path.parent.iterdir()] == [published.path.name]


@ENDINGS
def test_the_name_holds_the_hash_and_twice_is_the_same(checkpoint: Path, ending: str) -> None:
    paths = [
        publish(str(checkpoint), checkpoint.parent / f'{folder}/model{ending}').path
        for folder in ('one', 'two')
    ]
    digest = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert digest.startswith(named_hash(paths[0].name))
    assert paths[0].name == paths[1].name == f'model-{named_hash(paths[0].name)}{ending}'
    assert paths[0].read_bytes() == paths[1].read_bytes()
    # Published under the name that it has, it keeps one hash.
    again = publish(str(paths[0]), paths[0]).path
    assert again == paths[0]


def test_a_hash_in_the_name_has_a_letter() -> None:
    assert _beginning('0123456789') == '0123456789'
    assert _beginning('012345678a9b') == '012345678a'
    assert _beginning('a12345678a9b') == 'a1234567'


def test_a_download_is_checked_by_the_name(checkpoint: Path, monkeypatch) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    folder = checkpoint.parent
    monkeypatch.setattr(torch.hub, '_hub_dir', str(folder / 'hub'))
    path = publish(str(checkpoint), folder / 'model.pth').path
    bad = folder / f'other-{"f" * 8}.pth'
    bad.write_bytes(path.read_bytes())
    with ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        url = f'http://127.0.0.1:{web.server_address[1]}'
        assert fetch(f'{url}/{path.name}', progress=False).read_bytes() == path.read_bytes()
        with pytest.raises(CheckpointError, match='expected a SHA-256 of ffffffff'):
            fetch(f'{url}/{bad.name}', progress=False)
        web.shutdown()
        thread.join()


def averaged_training() -> dict:
    """As EMAHook leaves a checkpoint: weights of 1 trained, of 2 averaged."""
    model = nn.Linear(2, 2)
    nn.init.ones_(model.weight)
    hook = EMAHook()
    hook.ema_model = ExponentialMovingAverage(model)
    nn.init.constant_(hook.ema_model.module.weight, 2.0)
    checkpoint = training(state_dict=model.state_dict())
    hook.before_save_checkpoint(SimpleNamespace(), checkpoint)
    return checkpoint


@pytest.mark.parametrize('ema', [False, True])
def test_of_ema_hook_the_averaged_weights_are_taken_which_a_test_measures(
    tmp_path: Path, ema: bool
) -> None:
    torch.save(averaged_training(), tmp_path / 'a.pth')
    published = publish(str(tmp_path / 'a.pth'), tmp_path / 'model.pth', ema=ema)
    assert published.averaged
    state = read_checkpoint(str(published.path))['state_dict']
    assert state.keys() == {'weight', 'bias'}
    assert (state['weight'] == 2).all()


@pytest.mark.parametrize(('ema', 'value'), [(False, 1.0), (True, 2.0)])
def test_of_official_files_averaged_weights_are_taken_when_asked_for(
    tmp_path: Path, ema: bool, value: float
) -> None:
    torch.save({'model': weights(), 'model_ema': weights(2.0)}, tmp_path / 'a.pth')
    published = publish(str(tmp_path / 'a.pth'), tmp_path / 'model.pth', ema=ema)
    assert_equal(read_checkpoint(str(published.path))['state_dict'], weights(value))
    assert published.averaged is ema


def test_averaged_weights_that_are_not_there(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match='expected averaged weights'):
        publish(str(checkpoint), checkpoint.parent / 'model.pth', ema=True)


def test_a_given_config_takes_the_place_of_the_checkpoint_s(checkpoint: Path) -> None:
    config = CONFIGS / 'upernet_convnext_atto_samples.py'
    published = publish(str(checkpoint), checkpoint.parent / 'model.pth', config=str(config))
    assert 'data/samples/segmentation' in published.meta['cfg']
    (checkpoint.parent / 'broken.py').write_text('a = (')
    for name, told in (('broken.py', 'not a usable config'), ('none.py', 'no such config file')):
        with pytest.raises(UserError, match=told):
            publish(
                str(checkpoint), checkpoint.parent / 'b.pth', config=str(checkpoint.parent / name)
            )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(TEXT, min_size=1, max_size=4, unique=True))
@example([*NAMES, '/absolute', '~', 'C:\\x'])
def test_a_given_config_is_read_again_as_it_was(checkpoint: Path, names: list[str]) -> None:
    folder = checkpoint.parent
    dataset = dict(metainfo=dict(classes=names), pipeline=[dict(type='Resize')])
    entries = dict(
        classes=tuple(names),
        model=dict(type='EncoderDecoder', options={f'x{name}': (1, 2.5) for name in names}),
        test_dataloader=dict(dataset=dataset),
    )
    Config(entries).dump(folder / 'config.py')
    published = publish(str(checkpoint), folder / 'model.pth', config=str(folder / 'config.py'))
    text = read_meta(str(published.path))['cfg']
    (folder / 'read.py').write_text(text)
    assert mmengine.config.Config.fromfile(folder / 'read.py').to_dict() == entries
    assert read_literals(text) == entries
    published.path.unlink()


def test_a_config_that_is_no_python_is_left_out(tmp_path: Path) -> None:
    content = training()
    content['meta']['cfg'] = 'broken = ('
    torch.save(content, tmp_path / 'a.pth')
    assert 'cfg' not in publish(str(tmp_path / 'a.pth'), tmp_path / 'model.pth').meta


def test_a_broken_file_of_that_name_is_kept_until_forced(checkpoint: Path) -> None:
    out = checkpoint.parent / 'model.pth'
    path = publish(str(checkpoint), out).path
    content = path.read_bytes()
    path.write_bytes(b'broken')
    with pytest.raises(CheckpointError, match='give --force to replace it'):
        publish(str(checkpoint), out)
    assert publish(str(checkpoint), out, force=True).path.read_bytes() == content


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        ({'state_dict': {'a': torch.tensor(float('nan'))}}, 'NaN or infinity'),
        ({'meta': {}}, 'expected a dict of tensors'),
    ],
)
def test_what_is_no_good_is_not_published(tmp_path: Path, content: dict, told: str) -> None:
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=told):
        publish(str(tmp_path / 'a.pth'), tmp_path / 'out/model.pth')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('model', 'expected an ending'),
        ('model.bin', 'expected an ending'),
        ('iter_4.pth/model.pth', 'could not be written'),
        ('-abcdef12.pth', 'expected a name'),
    ],
)
def test_impossible_destinations(checkpoint: Path, name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        publish(str(checkpoint), checkpoint.parent / name)


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    large = torch.arange(1000.0)
    torch.save({'state_dict': {'a': large[:3], 'b': large[:3]}}, tmp_path / 'a.pth')
    for ending in ('pth', 'safetensors'):
        published = publish(str(tmp_path / 'a.pth'), tmp_path / f'model.{ending}')
        assert published.path.stat().st_size < 2500
        found = find_tensors(read_checkpoint(str(published.path)), 'model').tensors
        assert_equal(found, {'a': large[:3], 'b': large[:3]})
