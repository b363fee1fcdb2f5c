"""Triton kernels: in Triton's interpreter against float64, and compiled for GPUs, without one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmconvnext.backbones import triton_kernels
from mmconvnext.backbones.convnext import ConvNeXt
from tests.backbones.triton_kernels.cases import CASES, LONG_CASES, LOW
from tests.conftest import ROOT

needs_triton = pytest.mark.skipif(find_spec('triton') is None, reason='Triton is not installed')


def run(module: str, out: Path, *arguments: str) -> dict:
    command = [sys.executable, '-m', f'tests.backbones.triton_kernels.{module}', out, *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=850)
    return json.loads(out.read_text())


@pytest.fixture(scope='module')
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return run('interpret', tmp_path_factory.mktemp('triton') / 'cases.json')


@pytest.fixture(scope='module')
def interpreted_at_length(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return run('interpret', tmp_path_factory.mktemp('triton') / 'long.json', 'long')


def tolerance(name: str) -> float:
    """Two roundings of what is largest, and a half; in float32 the sums' own as well."""
    dtype = next((d for word, d in LOW.items() if word in name.split()), torch.float32)
    return torch.finfo(dtype).eps * (16 if dtype == torch.float32 else 2.5)


def check(result: dict, name: str) -> None:
    assert 'error' not in result, result['error']
    if 'ours' not in result:
        assert max(result.values()) <= tolerance(name), result
        return
    assert result['dtypes']
    for ours, plain in zip(result['ours'], result['plain'], strict=True):
        assert ours <= 2 * plain + tolerance(name), result


@needs_triton
@pytest.mark.parametrize('name', [n for n in CASES if n != 'backbone'])
def test_matches_float64(interpreted, name: str) -> None:
    check(interpreted[name], name)


@needs_triton
def test_in_the_backbone_with_recomputation(interpreted) -> None:
    result = interpreted['backbone']
    assert 'error' not in result, result['error']
    assert result['worst'] <= 5e-2


@needs_triton
@pytest.mark.campaign
@pytest.mark.parametrize('name', LONG_CASES)
def test_matches_float64_at_all_channel_counts(interpreted_at_length, name: str) -> None:
    check(interpreted_at_length[name], name)


@needs_triton
@pytest.mark.campaign
@pytest.mark.parametrize('channels', [40, 96, 384, 768, 1024, 1536, 2816, 3072])
def test_compiles_for_sm_80_and_sm_90(tmp_path: Path, channels: int) -> None:
    results = run('build', tmp_path / 'built.json', str(channels))
    assert len(results) == 2 * 14 * 2
    for name, found in results.items():
        print(name, f'{found["registers"]}+{found["stack"]}/{found["shared"]}')
        assert found['registers'] <= 255
        assert found['shared'] <= 48 << 10
        # Some spill a little where all channels of a pixel are in one program.
        assert channels > 1024 or found['stack'] <= 64, name


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the kernels ask for before they run."""
    monkeypatch.setattr(triton_kernels, 'find_spec', lambda _: object())
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (9, 0))
    triton_kernels._work_on.cache_clear()
    yield
    triton_kernels._work_on.cache_clear()


def test_a_gpu_without_a_compiler(monkeypatch: pytest.MonkeyPatch, a_gpu: None) -> None:
    broken = ModuleType('layer_norm')

    def layer_norm(*_: object) -> None:
        raise RuntimeError('Failed to find C compiler.')

    broken.layer_norm = layer_norm
    monkeypatch.setitem(sys.modules, f'{triton_kernels.__name__}.layer_norm', broken)
    with pytest.warns(UserWarning, match=r'do not run here .*C compiler.*triton_kernels=False'):
        assert not triton_kernels._work_on(torch.device('cpu'))


def test_without_triton_or_on_an_old_gpu(monkeypatch: pytest.MonkeyPatch, a_gpu: None) -> None:
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (7, 5))
    assert not triton_kernels._work_on(torch.device('cpu'))
    triton_kernels._work_on.cache_clear()
    monkeypatch.setattr(triton_kernels, 'find_spec', lambda _: None)
    assert not triton_kernels._work_on(torch.device('cpu'))


def test_changes_nothing_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, '_work_on', lambda _: True)
    model = ConvNeXt('atto')
    assert all(block.triton_kernels for stage in model.stages for block in stage)
    plain = ConvNeXt('atto', triton_kernels=False)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert all(map(torch.equal, model(x), plain(x)))
