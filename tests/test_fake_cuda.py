"""What a GPU would be given to do, seen on fake tensors: devices, dtypes, kernels, bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.conftest import ROOT
from tests.fake_cuda import device
from tests.fake_cuda.cases import CASES

BACKBONE = [name for name in CASES if name.startswith('backbone')]
# Gigabytes and kernels of 16 × 512² in bfloat16, counted; kernels are the plain block's of before.
BOUNDS = {  # of the backbone
    'count V1 training': (38, 774),
    'count V2 training': (50, 1286),
    'count V1 inference': (13.1, 314),
    'count V2 inference': (15.2, 455),
}


@pytest.fixture(scope='session')
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Of all cases, run once, in a process that believes in the device."""
    if device.compiler() is None:
        pytest.skip('no C++ compiler (g++ or clang++), which builds the fake CUDA device')
    if torch.version.cuda:
        pytest.skip('this torch was built with CUDA, and has the hooks that the fake device sets')
    folder = tmp_path_factory.getbasetemp()
    if 'popen' in folder.name:  # pytest-xdist's processes share what one of them has run
        folder = folder.parent
    path = folder / 'fake_cuda.json'
    with FileLock(folder / 'fake_cuda.lock'):
        if not path.is_file():
            _run(device.build(folder), path)
    return json.loads(path.read_text())


def _run(library: Path, out: Path) -> None:
    command = [sys.executable, '-m', 'tests.fake_cuda.run', library, out]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)


def result_of(results: dict[str, dict], name: str) -> dict:
    assert 'error' not in results[name], results[name]['error']
    return results[name]


@pytest.mark.parametrize('name', CASES)
def test_nothing_is_mixed_up(results, name: str) -> None:
    result = result_of(results, name)
    assert result['devices'] == ['cuda:0']
    assert result['wrong_gradients'] == []
    assert result['to_host'] == {}


@pytest.mark.parametrize('name', BACKBONE)
def test_maps_have_the_plain_block_s_dtype_and_stay_channels_last(results, name: str) -> None:
    result = result_of(results, name)
    dtype = 'float32'  # layer scale makes it that, under mixed precision too
    if 'half' in name:
        dtype = 'float16'
    elif 'V2' in name:
        dtype = {'frozen': 'bfloat16', 'plain': 'float16', 'with_cp': 'float16'}.get(
            name.split()[2], name.split()[2]
        )
    assert result['dtypes'] == [dtype]
    assert result['channels_last']


@pytest.mark.parametrize('name', BOUNDS)
def test_kernels_and_bytes(results, name: str) -> None:
    gigabytes, kernels = BOUNDS[name]
    result, plain = result_of(results, name), result_of(results, f'{name} plain')
    assert result['gigabytes'] <= gigabytes
    assert result['kernels'] <= min(kernels, plain['kernels'])


def test_the_loss_moves_no_more_than_mmseg_s(results) -> None:
    ours, theirs = result_of(results, 'loss'), result_of(results, 'loss mmseg')
    assert ours['gigabytes'] <= theirs['gigabytes']
    assert ours['kernels'] <= 2 * theirs['kernels']


def test_the_head_starts_few_kernels(results) -> None:
    ours, theirs = result_of(results, 'head'), result_of(results, 'head mmseg')
    assert ours['kernels'] <= 350
    assert ours['tflop'] <= 0.53 * theirs['tflop']
