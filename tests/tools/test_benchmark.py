"""tools/benchmark.py on models of a few thousand parameters, mostly in this process."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmconvnext.backbones import compiled_block
from mmconvnext.errors import one_line_errors
from tests.conftest import ROOT

TOOL = ROOT / 'tools' / 'benchmark.py'
SAMPLES_CONFIG = 'configs/upernet_convnext_atto_samples.py'
SHORT = ('--sizes', '64', '--rounds', '2', '--no-memory')


def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, 'path', sys.path.copy())  # which the tool adds to
    spec = importlib.util.spec_from_file_location('benchmark_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_cases(monkeypatch, tmp_path: Path, capsys) -> Callable[..., dict]:
    """Runs the tool; gives the JSON that it writes, its cases by kind."""

    def run(*arguments: str) -> dict:
        file = tmp_path / 'numbers.json'
        written = ('--json', str(file), '--out', str(tmp_path))
        monkeypatch.setattr(sys, 'argv', ['tools/benchmark.py', *arguments, *SHORT, *written])
        monkeypatch.chdir(ROOT)
        # Numbers are not looked at: they need not be good ones.
        monkeypatch.setattr('mmconvnext.analysis.benchmark.timing.SHORTEST_SECONDS', 0)
        monkeypatch.setattr(
            'mmconvnext.analysis.benchmark.timing.gemm_gflops', lambda *_, **__: 100.0
        )
        load(monkeypatch).main()
        output = capsys.readouterr().out
        content = json.loads(file.read_text())
        for kind, cases in content['cases'].items():
            assert (tmp_path / f'{kind}.png').read_bytes().startswith(b'\x89PNG')
            for case in cases:
                assert case['title'] in output
        for name, reason in content['left_out'].items():
            assert f'left out: {name}: {reason}' in output
        return content

    return run


def names(case: dict) -> list[str]:
    return [one['name'] for one in case['measurements']]


def test_backbone_alone_and_what_is_missing(run_cases) -> None:
    content = run_cases(
        'backbone', '--arch', 'atto', '--versions', 'v1', 'v2',
        '--rivals', 'official-like,torchvision,mmseg',
    )  # fmt: skip
    cases = content['cases']['backbone']
    assert [case['title'] for case in cases] == [
        f'ConvNeXt-atto {version}, {step}'
        for version in ('V1', 'V2')
        for step in ('1 × 64², inference', '2 × 64², training step')
    ]
    for case in cases:
        assert names(case) == [
            *('ours', 'ours, again', 'ours, fast=False'),
            *('official-like', 'official-like, channels_last'),
        ]
        assert case['rounds'] == 2
        for one in case['measurements']:
            assert one['seconds']['lower'] <= one['seconds']['median'] <= one['seconds']['upper']
            assert one['gemm_fraction'] > 0
            assert one['peak_bytes'] is None
            assert one['difference'] <= 1e-4
    inference, training = cases[:2]
    assert training['macs'] == 6 * inference['macs'], 'two images, three passes'
    assert content['left_out']['torchvision (backbone V2)'] == 'has no ConvNeXt V2'
    assert content['left_out']['mmseg (backbone)'] == 'has no backbone here'
    assert content['machine']['command'].startswith('python tools/benchmark.py backbone ')


def test_head_against_mmseg_and_segmentor_alone(run_cases) -> None:
    content = run_cases(
        'head', 'segmentor', '--config', SAMPLES_CONFIG, '--rivals', 'mmseg'
    )  # fmt: skip
    for case in content['cases']['head']:
        assert names(case)[-2:] == ['mmseg', 'mmseg, channels_last']
    for case in content['cases']['segmentor']:
        assert names(case) == ['ours', 'ours, again', 'ours, fast=False']
    assert content['left_out'] == {'mmseg (segmentor)': 'its backbone: is not on the path'}


def test_detector_and_operators_alone(run_cases) -> None:
    content = run_cases(
        'detector', 'ops', '--config',
        'configs/mask_rcnn_convnext_atto_samples.py', '--rivals', 'none', '--train',
    )  # fmt: skip
    (case,) = content['cases']['detector']
    assert case['macs'] is None
    assert names(case) == ['ours', 'ours, again', 'ours, fast=False']
    assert len(content['cases']['ops']) == 2


def test_away_from_the_repository(run_tool, tmp_path) -> None:
    """As after an installation through mim, which ships what it needs but for the rivals."""
    for folder in ('tools', 'configs', 'benchmarks'):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    file = tmp_path / 'numbers.json'
    result = run_tool(
        *('tools/benchmark.py', 'backbone', '--arch', 'atto', '--infer', *SHORT, '--json', file),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(file.read_text())
    (case,) = content['cases']['backbone']
    assert names(case)[:3] == ['ours', 'ours, again', 'ours, fast=False']
    assert content['left_out']['timm (backbone)'] == 'is not on the path'
    assert 'left out: timm (backbone): is not on the path' in result.stdout


def test_mixed_precision_and_blocks_compiled(run_cases, monkeypatch) -> None:
    # That they compile is tested elsewhere.
    monkeypatch.setattr('mmconvnext.backbones.compiled_block.BACKEND', 'eager')
    compiled_block._compiled.cache_clear()
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, mode: None)
    content = run_cases(
        'backbone', '--arch', 'atto', '--infer', '--amp', 'bf16', '--compile',
        '--rivals', 'official-like',
    )  # fmt: skip
    compiled_block._compiled.cache_clear()
    (case,) = content['cases']['backbone']
    assert case['title'] == 'ConvNeXt-atto V1, 1 × 64², inference, bf16'
    assert names(case)[2:5] == ['ours, fast=False', 'ours, compiled', 'ours, blocks compiled']
    assert names(case)[-1] == 'official-like, channels_last, compiled'
    largest = max(one['difference'] for one in case['measurements'])
    assert 1e-4 < largest < 5e-2, 'of 16 bits'
    assert all(
        one['first_seconds'] > 0 for one in case['measurements'] if 'again' not in one['name']
    )


def test_in_a_process_of_its_own_with_memory(run_tool, tmp_path) -> None:
    file = tmp_path / 'numbers.json'
    result = run_tool(
        *(TOOL, 'backbone', '--arch', 'atto', '--sizes', '32', '--rounds', 1, '--train'),
        *('--rivals', 'none', '--json', file, '--out', tmp_path),
        OMP_NUM_THREADS='1',  # which it hardly needs, beside other tests
    )
    assert result.returncode == 0, result.stderr
    ((case,),) = json.loads(file.read_text())['cases'].values()
    ours, again, plain = case['measurements']
    # The gradients alone are as large as the 3.4 million parameters.
    assert ours['peak_bytes'] > 3.3e6 * 4
    assert plain['peak_bytes'] > 3.3e6 * 4
    assert again['peak_bytes'] is None, 'it is ours once more'


@pytest.mark.parametrize(
    ('arguments', 'parts'),
    [
        (('backbone', '--rivals', 'timm,tim'), ('--rivals', 'timm, torchvision', 'got tim')),
        (('backbone', '--sizes', '31'), ('--sizes', 'at least 32', '31')),
        (('backbone', '--sizes', '64xx'), ('--sizes', '64xx')),
        (('backbone', '--sizes', '512²'), ('--sizes', 'SIDE or HxW', '512²')),
        (('backbone', '--device', 'mps'), ('--device', 'expected cpu or cuda')),
        (('backbone', '--json', 'tests'), ('--json', 'the folder tests')),
        (('backbone', '--out', 'setup.cfg'), ('--out', 'expected a folder')),
        (('backbone', '--rounds', '0'), ('--rounds', 'expected 1 or more')),
        (('backbone', '--device', 'cuda:99'), ('--device', 'cuda:99')),
        (('head', '--train', '--batch', '1'), ('--batch', 'expected 2 or more')),
        (('segmentor', '--config', 'none.py'), ('--config', 'none.py')),
        (('detector', '--config', SAMPLES_CONFIG), ('--config', 'roi_head')),
    ],
)
def test_wrong_arguments_are_told_in_one_line(monkeypatch, arguments, parts) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['tools/benchmark.py', *arguments])
    tool = load(monkeypatch)
    with pytest.raises(SystemExit) as end, one_line_errors():
        tool.main()
    line = str(end.value)  # Python writes it to stderr and ends with 1
    assert line.startswith('error: ')
    assert '\n' not in line
    assert all(part in line for part in parts)
