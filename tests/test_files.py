import json
from pathlib import Path

import pytest

from mmconvnext.errors import UserError
from mmconvnext.files import make_folder, whole_file, write_json


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'a.png'
    with whole_file(path) as partial:
        partial.write_text('whole')
        assert partial.suffix == '.png'
        assert not path.exists()
    assert path.read_text() == 'whole'
    assert [one.name for one in path.parent.iterdir()] == ['a.png']


def test_after_an_error_the_older_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_text('half')
            raise RuntimeError('midway')

    with pytest.raises(RuntimeError, match='midway'):
        fail()
    assert path.read_text() == 'old'
    assert [one.name for one in tmp_path.iterdir()] == ['a.txt']


def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with (
        pytest.raises(UserError, match=r'file/a\.txt: not here \((File exists|Not a directory)'),
        whole_file(tmp_path / 'file' / 'a.txt', 'not here'),
    ):
        pass
    with pytest.raises(UserError, match=r'--out: .*file: expected a folder to write to'):
        make_folder('--out', tmp_path / 'file')


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / 'a.json', {'ü': [1, 2.5]})
    text = (tmp_path / 'a.json').read_text(encoding='utf-8')
    assert 'ü' in text
    assert json.loads(text) == {'ü': [1, 2.5]}
