from pathlib import Path

import pytest

from mmconvnext.analysis.metafile import own_record, read_record
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


def test_a_published_config() -> None:
    record = read_record(CONFIGS / 'upernet_convnext_t_ade20k.py')
    assert record.parameters_m == 60  # as the paper prints them
    assert record.gmacs == 939
    assert record.results['mIoU'] == 46.0
    assert '2201.03545' in record.source


def test_a_config_of_this_project_by_name() -> None:
    name = 'upernet_convnext_t_ade20k'
    assert own_record(name) == read_record(CONFIGS / f'{name}.py')
    with pytest.raises(UserError, match=r'metafile\.yml: expected it with an entry of of_mine'):
        own_record('of_mine')


def test_in_a_wheel_the_configs_lie_inside_the_package(tmp_path: Path, monkeypatch) -> None:
    configs = tmp_path / '.mim' / 'configs'
    configs.mkdir(parents=True)
    text = 'Models: [{Name: a, Config: configs/a.py, Metadata: {Published GFLOPs: 7}}]'
    (configs / 'metafile.yml').write_text(text)
    monkeypatch.setattr('mmconvnext.__file__', str(tmp_path / '__init__.py'))
    assert own_record('a').gmacs == 7


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert read_record(CONFIGS / 'of_mine.py') is None
    assert read_record(tmp_path / 'upernet_convnext_t_ade20k.py') is None


# Unsafely loaded, a metafile without models.
CODE = '!!python/object/apply:builtins.dict [[[Models, []]]]'


@pytest.mark.parametrize('text', ['a: [', 'Models: 3', 'just text', CODE])
def test_a_broken_metafile_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / 'metafile.yml').write_text(text)
    with pytest.raises(UserError, match=r'metafile\.yml: expected a metafile'):
        read_record(tmp_path / 'a.py')
