"""What Config writes, read again by mmengine itself."""

import copy
import math
import pickle
from pathlib import Path, PurePosixPath

import mmengine.config
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmconvnext.config.config_file import Config, read_config
from mmconvnext.config.plain_values import plain
from mmconvnext.errors import UserError
from tests.config.foreign import NAMES, configs
from tests.conftest import CONFIGS

MMEngineConfig = mmengine.config.Config


@pytest.fixture(autouse=True)
def variable(monkeypatch) -> None:
    """An environment variable that templates name."""
    monkeypatch.setenv('A', 'interpreted')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('written')


@settings(max_examples=100, deadline=None)
@given(configs())
def test_python_is_read_as_it_was_written(folder: Path, entries: dict) -> None:
    path = folder / 'a.py'
    Config(entries).dump(path)
    read = MMEngineConfig.fromfile(path).to_dict()
    assert exactly(read) == exactly(entries)


@settings(max_examples=60, deadline=None)
@given(configs())
def test_yaml_is_read_as_it_was_written(folder: Path, entries: dict) -> None:
    path = folder / 'a.yaml'
    Config(entries).dump(path)
    assert exactly(MMEngineConfig.fromfile(path).to_dict()) == exactly(entries)


@settings(max_examples=60, deadline=None)
@given(configs(st.sampled_from(NAMES) | st.text()))
def test_json_is_read_with_lists_for_tuples(folder: Path, entries: dict) -> None:
    path = folder / 'a.json'
    Config(entries).dump(path)
    assert exactly(MMEngineConfig.fromfile(path).to_dict()) == exactly(with_lists(entries))


def exactly(value: object) -> str:
    """Values with their types: ``==`` takes 1, 1.0 and True for the same."""
    return ascii(plain(value))


def with_lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return [with_lists(item) for item in value] if isinstance(value, list | tuple) else value


def read_again(entries: dict, path: Path) -> dict:
    Config(entries).dump(path)
    return MMEngineConfig.fromfile(path).to_dict()


@pytest.mark.parametrize('suffix', ['.py', '.yaml', '.json'])
def test_nothing_is_run_when_it_is_read(suffix: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    entries = {'classes': list(NAMES[:6]), 'model': {name: name for name in NAMES[:6]}}
    assert read_again(entries, tmp_path / f'a{suffix}') == entries
    assert [path.name for path in tmp_path.iterdir()] == [f'a{suffix}']


def test_mmengine_s_own_text_is_interpreted(tmp_path: Path) -> None:
    """Why there is a Config of our own."""
    (tmp_path / 'a.py').write_text(MMEngineConfig({'name': NAMES[2]}).pretty_text)
    assert MMEngineConfig.fromfile(tmp_path / 'a.py').name != NAMES[2]


def test_other_values_become_plain_ones(tmp_path: Path) -> None:
    entries = {
        'numbers': [np.float64(1.5), np.int64(3), np.bool_(True), 1j, b'{{\xff'],
        'arrays': {'a': np.arange(3), 'b': torch.ones(2)},
        'limits': (math.inf, -math.inf, -0.0),
        'sets': [{'}}', 'b'}, set(), frozenset({1})],
        'range': range(3),
        'keys': {1: 'a', (1, '{{'): 'b', None: 'c', math.inf: 'd'},
        'types': [torch.nn.ReLU, math.sqrt],
        'path': PurePosixPath('a/b'),
    }
    read = read_again(entries, tmp_path / 'a.py')
    assert read == {
        **entries,
        'arrays': {'a': [0, 1, 2], 'b': [1.0, 1.0]},
        'types': ['torch.nn.modules.activation.ReLU', 'math.sqrt'],
        'path': 'a/b',
    }
    assert math.isnan(read_again({'a': math.nan}, tmp_path / 'a.py')['a'])


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*_atto_*.py')), ids=lambda path: path.stem)
def test_configs_are_read_again(path: Path, tmp_path: Path) -> None:
    config = Config.fromfile(path)
    for suffix in ('py', 'yaml'):
        config.dump(tmp_path / f'a.{suffix}')
        assert Config.fromfile(tmp_path / f'a.{suffix}').to_dict() == config.to_dict()


def test_is_a_config_of_mmengine() -> None:
    path = CONFIGS / 'upernet_convnext_atto_samples.py'
    theirs, ours = MMEngineConfig.fromfile(path), read_config(path)
    assert (ours.to_dict(), ours.filename, ours.text) == (theirs.to_dict(), str(path), theirs.text)
    for config in (copy.deepcopy(ours), copy.copy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(config) is Config
        assert config.pretty_text == ours.pretty_text
    shared = Config.of(theirs)
    shared.model.type = 'Other'
    assert theirs.model.type == 'Other'
    assert "type='Other'" in shared.pretty_text, 'nothing is remembered'
    assert ours.dump() == ours.pretty_text


def test_a_lazy_config_is_written_with_its_types_named(tmp_path: Path) -> None:
    (tmp_path / 'base.py').write_text("work = dict(name='{{x')\n")
    (tmp_path / 'lazy.py').write_text(
        'from torch.nn import ReLU\nfrom mmengine.config import read_base\n'
        'with read_base():\n    from .base import *\nmodel = dict(type=ReLU, inplace=True)\n'
    )
    config = read_config(tmp_path / 'lazy.py')
    config.dump(tmp_path / 'dumped.py')
    dumped = MMEngineConfig.fromfile(tmp_path / 'dumped.py')
    assert dumped.to_dict() == {
        'model': {'type': 'torch.nn.ReLU', 'inplace': True},
        'work': {'name': '{{x'},
    }
    assert config.model.type is torch.nn.ReLU


def test_unusable_files_are_told_in_one_line(tmp_path: Path) -> None:
    for name, text, told in (
        ('a.py', None, 'no such config file; see configs/'),
        ('a.py', 'a = (', 'not a usable config (SyntaxError'),
        ('a.py', "custom_imports = dict(imports=['none_such'])", 'missing); install none_such'),
        ('a.txt', 'a', 'Only py/yml/yaml/json'),
        ('a.json', '{"a": ', 'not readable'),
        ('a.yaml', 'a: [', 'line 1: not readable'),
        ('a.yaml', 'a: !!python/name:os.system', 'found the tag !!python/name:os.system'),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(UserError) as caught:
            read_config(tmp_path / name)
        assert str(caught.value).startswith(f'{tmp_path / name}: ')
        assert told in str(caught.value)
        assert '\n' not in str(caught.value)
