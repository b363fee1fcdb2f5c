import importlib.util
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
    folder = tmp_path_factory.mktemp('mmcv')
    with ZipFile(wheels[0]) as wheel:
        name = next(name for name in wheel.namelist() if name.startswith('mmcv/_ext'))
        path = wheel.extract(name, folder)
    spec = importlib.util.spec_from_file_location('_ext', path)
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        pytest.skip(f'the compiled mmcv is for another Python or torch: {error}')
    return module
