"""benchmarks/gpu.py on a CPU, where every stage of it runs with small models."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture
def run_script(monkeypatch, tmp_path: Path) -> Callable[..., list[dict]]:
    """Runs the script in this process; gives its findings."""
    monkeypatch.setattr(sys, 'path', sys.path.copy())  # which the script adds to

    def run(*arguments: str) -> list[dict]:
        monkeypatch.setattr(sys, 'argv', ['gpu.py', '--out', str(tmp_path), *arguments])
        importlib.import_module('benchmarks.gpu').main()
        return [json.loads(line) for line in (tmp_path / 'gpu.jsonl').read_text().splitlines()]

    return run


def test_a_stage_and_the_page(run_script, tmp_path: Path) -> None:
    lines = run_script('--device', 'cpu', '--tiny', '--stages', 'machine', 'micro')
    assert lines[0]['name'] == 'machine'
    assert lines[0]['torch'] == torch.__version__
    assert not [line for line in lines if line.get('ok') is False]
    page = (tmp_path / 'gpu.md').read_text()
    for case in {line['case'] for line in lines if 'case' in line}:
        assert f'### {case}' in page
    assert page.count('NHWC gradient of the weight') == 3, 'of each dtype'
    # A second call adds to the file, and the page is of all.
    more = run_script('--device', 'cpu', '--tiny', '--stages', 'machine')
    assert more[: len(lines)] == lines
    assert len(more) > len(lines)


def test_what_goes_wrong_is_a_finding(run_script, tmp_path: Path, monkeypatch) -> None:
    gpu = importlib.import_module('benchmarks.gpu')

    def fail(_: object) -> None:
        raise RuntimeError('no such kernel')

    monkeypatch.setitem(gpu.STAGES, 'waits', gpu.Stage(fail, 1))
    lines = run_script('--device', 'cpu', '--tiny', '--stages', 'waits', 'micro')
    wrong, *_ = [line for line in lines if line.get('ok') is False]
    assert wrong['error'] == 'RuntimeError: no such kernel'
    assert wrong['where'][-1].startswith('test_gpu_script.py:')
    assert any(line['stage'] == 'micro' and 'ms' in line for line in lines), 'it goes on'
    page = (tmp_path / 'gpu.md').read_text()
    assert '0 of 1 checks passed' in page
    assert 'no such kernel' in page


def test_a_stage_whose_time_is_up_says_so(run_script) -> None:
    lines = run_script('--device', 'cpu', '--stages', 'micro', '--budget', '0')
    assert [line['name'] for line in lines] == ['stage micro skipped, no time left']
    assert not lines[0]['ok']


def test_no_gpu_is_told_in_one_line(run_script, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        run_script('--stages', 'machine')
    assert end.value.code == 2
    assert 'expected a GPU for cuda, found none' in capsys.readouterr().err


@pytest.mark.campaign
@pytest.mark.timeout(2400)
def test_every_stage(tmp_path: Path, monkeypatch) -> None:
    """With the rivals of .rivals, where they are; in a process of its own, which sees them."""
    monkeypatch.setattr(sys, 'path', sys.path.copy())  # which the script adds to
    stages = importlib.import_module('benchmarks.gpu').STAGES
    command = [sys.executable, 'benchmarks/gpu.py', '--out', str(tmp_path), '--device', 'cpu']
    subprocess.run([*command, '--tiny', '--stages', *stages], cwd=ROOT, check=True)
    lines = [json.loads(line) for line in (tmp_path / 'gpu.jsonl').read_text().splitlines()]
    assert {line['stage'] for line in lines} == set(stages)
    assert not [line for line in lines if line.get('ok') is False]
