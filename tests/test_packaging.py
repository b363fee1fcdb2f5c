"""What ``pip install .`` and ``mim`` get."""

import zipfile
from collections import Counter
from pathlib import PurePosixPath

import pytest

from mmconvnext.version import __version__
from tests.built_wheel import build_wheel
from tests.conftest import CONFIGS, ROOT


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp('wheel'))) as file:
        yield file


def test_wheel_ships_configs_tools_benchmarks_and_index_for_mim(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for folder in ('configs', 'tools', 'benchmarks'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert f'mmconvnext/.mim/{path.relative_to(ROOT)}' in names
    assert 'mmconvnext/.mim/model-index.yml' in names
    assert 'mmconvnext/backbones/convnext.py' in names
    top = {PurePosixPath(name).parts[0] for name in names}
    assert top == {'mmconvnext', f'mmconvnext-{__version__}.dist-info'}


def test_mim_finds_each_config_and_tool_by_its_name(wheel: zipfile.ZipFile) -> None:
    """It searches the whole package for a config's name, and .mim/tools for a tool's."""
    names = Counter(PurePosixPath(name).name for name in wheel.namelist())
    assert {path.name for path in CONFIGS.glob('*.py') if names[path.name] != 1} == set()
    tools = Counter(path.stem for path in (ROOT / 'tools').rglob('*.py'))
    assert {name for name, count in tools.items() if count != 1} == set()


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f'mmconvnext-{__version__}.dist-info/METADATA').decode()
    required = [line for line in metadata.splitlines() if line.startswith('Requires-Dist')]
    always = [line for line in required if 'extra ==' not in line]
    assert not any('mm' in line.split(':')[1].split('>')[0] for line in always), always
    assert any('mmcv-lite==2.1.0; extra == "openmmlab"' in line for line in required)
    assert 'License-Expression: Apache-2.0' in metadata or 'License: Apache-2.0' in metadata
