from types import ModuleType

import pytest

from benchmarks.operators import load_compiled
from tests.conftest import WHEELS


@pytest.fixture(scope='session')
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """mmcv 2.1.0's compiled operators, beside whichever mmcv is installed."""
    wheels = sorted(WHEELS.glob('mmcv-2.1.0-*.whl')) if WHEELS.is_dir() else []
    if not wheels:
        pytest.skip(f'no compiled mmcv in {WHEELS}: set MMCONVNEXT_WHEELS to have these tests')
    try:
        return load_compiled(wheels[0], str(tmp_path_factory.mktemp('mmcv')))
    except ImportError as error:
        pytest.skip(f'the compiled mmcv is for another Python or torch: {error}')
