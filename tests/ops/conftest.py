import importlib.util
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

from tests.conftest import WHEELS


@pytest.fixture(scope='session')
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """mmcv 2.1.0's compiled operators, beside whichever mmcv is installed."""
    wheels = sorted(WHEELS.glob('mmcv-2.1.0-*.whl')) if WHEELS.is_dir() else []
    if not wheels:
        pytest.skip(f'no compiled mmcv in {WHEELS}: set MMCONVNEXT_WHEELS to have these tests')
    try:
        return load_compiled(wheels[0], tmp_path_factory.mktemp('mmcv'))
    except ImportError as error:
        pytest.skip(f'the compiled mmcv is for another Python or torch: {error}')


def load_compiled(wheel: Path, folder: Path) -> ModuleType:
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.startswith('mmcv/_ext'))
        path = archive.extract(name, folder)
    spec = importlib.util.spec_from_file_location('_ext', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
