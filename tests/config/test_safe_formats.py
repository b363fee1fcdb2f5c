"""mmengine's own ``load``, as mmconvnext leaves it."""

import datetime
import functools
import io
import os
import pickle
import re
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
import yaml
from numpy._core import multiarray

from mmconvnext.config.config_file import read_config
from mmconvnext.errors import UserError

PLAIN = [
    {'a': [1, 2.5, None, True, 'x', (1, 'y'), {3}, frozenset({4})], 'b': b'\x00\xff', 'c': b''},
    bytearray(b'x'),
    1j,
    OrderedDict(b=1, a=2),
]
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.ones((2, 3), np.float32)),
    np.array(['a', 'bc']),
    np.array([1, 'x', None], dtype=object),
    np.zeros((2, 0), np.uint8),
    np.float32(1.5),
    np.bool_(True),
    torch.arange(6).reshape(2, 3).t(),
    torch.ones(2, dtype=torch.bool),
]


class Reduced:
    """Pickled, it is the call of a function."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


def load_pickle(value: object, protocol: int = 2) -> object:
    file = io.BytesIO(pickle.dumps(value, protocol=protocol))
    return mmengine.load(file, file_format='pkl')


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_come_back_from_pickle(protocol: int) -> None:
    assert load_pickle(PLAIN, protocol) == PLAIN
    for value, found in zip(ARRAYS, load_pickle(ARRAYS, protocol)):
        assert (type(found), found.dtype) == (type(value), value.dtype)
        assert bool((found == value).all())


def test_predictions_are_written_and_read_by_mmengine(tmp_path: Path) -> None:
    predictions = [{'img_id': 1, 'pred': {'scores': torch.rand(3), 'counts': b'ab'}}]
    mmengine.dump(predictions, tmp_path / 'all.pkl')
    (found,) = mmengine.load(tmp_path / 'all.pkl')
    assert torch.equal(found['pred']['scores'], predictions[0]['pred']['scores'])
    assert found['pred']['counts'] == b'ab'


# What a dtype's state may claim: bytes of the file are an object at an address.
_POINTER = (3, '|', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 1, 0)


@pytest.mark.parametrize(
    'value',
    [
        Reduced(os.system, ('touch ran',)),
        Reduced(eval, ("open('ran', 'w')",)),
        Reduced(exec, ("open('ran', 'w')",)),
        Reduced(getattr, (dict, 'fromkeys')),
        Reduced(__import__, ('os',)),
        Reduced(functools.partial, (os.system, 'touch ran')),
        Reduced(mmengine.load, ('x.pkl',)),
        Reduced(np.load, ('x.npy',)),
        Reduced(np.fromfile, ('x',)),
        Reduced(torch.load, ('x',)),
        Reduced(torch.ones, (2,)),
        Reduced(np.ndarray, ((2,), np.dtype('f8'))),
        Reduced(np.dtype, ('V8', False, True), _POINTER),
        Reduced(np.dtype, ([('a', 'O')],)),
        Reduced(np.dtype, ('O', False, True), (3, '|', None, None, None, -1, -1, 0, {})),
        Reduced(np.dtype, ('f8',), (3, '>', None, None, None, -1, -1, 0)),
        Reduced(multiarray.scalar, (np.dtype('O'), 'x')),
        Reduced(multiarray.scalar, (np.dtype('O'), b'AAAAAAAA')),
        Reduced(multiarray._reconstruct, (np.matrix, (0,), b'b')),
        Reduced(OrderedDict, (), {'x': 1}),
        Path('x'),
        datetime.date(2026, 1, 1),
        print,
    ],
)
def test_nothing_else_is_unpickled(value: object, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='pickle: not readable as plain data') as caught:
        load_pickle(value)
    assert '\n' not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_not_encoded_otherwise() -> None:
    content = pickle.dumps(b'\xff', protocol=2)
    assert b'latin1' in content
    with pytest.raises(UserError, match="found 'rot_13'"):
        mmengine.load(io.BytesIO(content.replace(b'latin1', b'rot_13')), file_format='pkl')


@pytest.mark.parametrize('content', [b'', b'\x80\x04', b'no pickle', b'\x80\x05K\x01', b'.'])
def test_a_broken_pickle_is_told_in_one_line(content: bytes) -> None:
    with pytest.raises(UserError, match='not readable as plain data') as caught:
        mmengine.load(io.BytesIO(content), file_format='pickle')
    assert '\n' not in str(caught.value)


def test_yaml_of_mmengine_comes_back(tmp_path: Path) -> None:
    value = {'a': (1, ('x', [2, ()])), 'b': [None, 1.5, True, 'é'], (1, 2): 'key'}
    mmengine.dump(value, tmp_path / 'a.yaml')
    assert '!!python/tuple' in (tmp_path / 'a.yaml').read_text()
    assert mmengine.load(tmp_path / 'a.yaml') == value
    assert yaml.load('[1]', Loader=yaml.SafeLoader) == [1]


@pytest.mark.parametrize(
    'tag',
    [
        "!!python/object/apply:os.system ['touch ran']",
        "!!python/object/new:os.system ['touch ran']",
        '!!python/name:os.system',
        '!!python/module:os',
        '!!python/object:collections.OrderedDict {}',
        '!!python/str x',
        '!!python/a%0A%1B[31mb x',
    ],
)
def test_other_tags_of_python_are_refused(tag: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'base.yaml').write_text(f'a: 1\nb: {tag}\n')
    (tmp_path / 'a.py').write_text("_base_ = 'base.yaml'\n")
    name = re.escape(tag.split()[0].replace('%0A', r'\n').replace('%1B', r'\x1b'))
    for read in (lambda: mmengine.load('base.yaml'), lambda: read_config('a.py')):
        with pytest.raises(
            UserError, match=f'line 2: expected plain .*found the tag {name}, '
        ) as e:
            read()
        assert str(e.value).isprintable()
    with (
        (tmp_path / 'base.yaml').open() as file,
        pytest.raises(UserError, match=r'base\.yaml, line'),
    ):
        mmengine.load(file, file_format='yaml')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    'content',
    ['a: [', 'a: 2026-13-45', 'a: !!bool x', 'a: !!int x', '? [a]\n: 1', 'a\x00', '[' * 5000],
)
def test_broken_yaml_is_told_in_one_line(content: str) -> None:
    with pytest.raises(UserError, match=r'YAML.*: not readable \(') as caught:
        mmengine.load(io.StringIO(content), file_format='yaml')
    assert str(caught.value).isprintable()


def test_broken_json_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'a.json').write_text('{"a": [1,]}')
    with pytest.raises(UserError, match='JSON: not readable'):
        mmengine.load(tmp_path / 'a.json')
    with (tmp_path / 'a.json').open() as file, pytest.raises(UserError, match=r'a\.json: not'):
        mmengine.load(file, file_format='json')
    with pytest.raises(ValueError, match='not readable'):  # as it was for who catches it
        mmengine.load(io.StringIO('[' * 100_000), file_format='json')
    assert mmengine.load(io.StringIO('[1, NaN]'), file_format='json')[0] == 1


NAMES = list(pairwise('abcdefghi'))


@pytest.mark.parametrize(
    'content',
    [
        'a: &a [1]\n' + ''.join(f'{b}: &{b} [{f"*{a}," * 9}]\n' for a, b in NAMES),
        'a: &a {k: 1}\n' + ''.join(f'{b}: &{b} {{<<: [{f"*{a}," * 9}]}}\n' for a, b in NAMES),
        f'a: &a [{"1," * 2000}]\nb: [{"*a," * 2000}]',
        'a: &a [*a]',
    ],
)
def test_aliases_for_more_than_anybody_has_memory_for(content: str) -> None:
    with pytest.raises(UserError, match='YAML: expected aliases that repeat at most'):
        mmengine.load(io.StringIO(content), file_format='yaml')
