"""Triton kernels: in Triton's interpreter against float64, and compiled for GPUs, without one."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mmconvnext.backbones import triton_kernels
from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.errors import ArgumentError
from tests.backbones.triton_kernels.cases import CASES, DTYPES, LONG_CASES
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


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return run('build', tmp_path_factory.mktemp('triton') / 'built.json')


def tolerance(name: str) -> float:
    """Two roundings of what is largest, and a half; in float32 the sums' own as well."""
    dtype = next((d for word, d in DTYPES.items() if word in name.split()), torch.float32)
    return torch.finfo(dtype).eps * (16 if dtype == torch.float32 else 2.5)


def check(result: dict, name: str) -> None:
    assert 'error' not in result, result['error']
    assert max(result.values()) <= tolerance(name), result


@needs_triton
@pytest.mark.parametrize('name', [n for n in CASES if not n.startswith(('block', 'backbone'))])
def test_matches_float64(interpreted, name: str) -> None:
    check(interpreted[name], name)


@needs_triton
@pytest.mark.parametrize('name', [n for n in CASES if n.startswith('block')])
def test_the_lean_block_is_as_exact_with_them(interpreted, name: str) -> None:
    result = interpreted[name]
    assert 'error' not in result, result['error']
    assert result['dtypes']
    for ours, plain in zip(result['ours'], result['plain'], strict=True):
        assert ours <= 2 * plain + tolerance(name)


@needs_triton
def test_in_the_backbone_with_recomputation(interpreted) -> None:
    result = interpreted['backbone']
    assert 'error' not in result, result['error']
    assert result['worst'] <= 5e-4


@needs_triton
@pytest.mark.campaign
@pytest.mark.parametrize('name', LONG_CASES)
def test_matches_float64_at_all_channel_counts(interpreted_at_length, name: str) -> None:
    check(interpreted_at_length[name], name)


@needs_triton
def test_shapes_under_a_compiler(built) -> None:
    traced = built['traced']
    maps, weight, vector = [2, 5, 7, 40], [40, 1, 7, 7], [40]
    low, exact = 'torch.bfloat16', 'torch.float32'
    assert traced['eager'] == traced['compiled']
    assert traced['eager'] == [
        [maps, low],
        [maps, low],
        [weight, exact],
        [vector, exact],
        [vector, exact],
    ]
    # Forward: convolution with norm, sums, product. Backward: the two of GRN, three of the other.
    assert traced['kernels'] == [3, 5]


@needs_triton
@pytest.mark.campaign
@pytest.mark.parametrize('channels', [40, 96, 384, 768, 1024, 1536, 2816, 3072])
def test_compiles_for_sm_80_and_sm_90(tmp_path: Path, channels: int) -> None:
    results = run('build', tmp_path / 'built.json', str(channels))
    del results['traced']
    assert len(results) == 2 * 6 * 3
    for name, configs in results.items():
        print(name, *(f'{c["registers"]}+{c["stack"]}/{c["shared"]}' for c in configs))
        assert all(c['registers'] <= 255 and c['shared'] <= 48 << 10 for c in configs), name
        # The tuner has a choice; the first is one that spills nothing.
        assert configs[0]['stack'] == 0, name


def test_says_that_triton_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, 'find_spec', lambda _: None)
    with pytest.raises(ArgumentError, match=r'expected Triton to be installed.*pip install triton'):
        ConvNeXt('atto', triton_kernels=True)
    ConvNeXt('atto')


def test_changes_nothing_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, 'find_spec', lambda _: True)
    model = ConvNeXt('atto', triton_kernels=True)
    assert all(block.triton_kernels for stage in model.stages for block in stage)
    plain = ConvNeXt('atto')
    plain.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert all(map(torch.equal, model(x), plain(x)))
