"""tools/plot_logs.py in a process of its own, as a person runs it."""

import json
from pathlib import Path

import pytest

from tests.analysis.written_run import training, write_start


@pytest.fixture
def work_dirs(tmp_path: Path) -> list[Path]:
    records = [*training(range(10, 201, 10)), {'mIoU': 40.0, 'aAcc': 80.0, 'step': 200}]
    table = {'cat': 30.0, 'dog': 50.0}
    return [
        write_start(tmp_path / 'work_dirs' / name, '20260101_000000', records, [table])
        for name in ('a', 'b')
    ]


def test_prints_results_and_writes_pictures(run_tool, work_dirs, tmp_path: Path) -> None:
    result = run_tool('tools/plot_logs.py', work_dirs[0])
    assert result.returncode == 0, result.stderr
    assert 'a: mIoU 40, best 40 at 200' in result.stdout
    for name in ('loss', 'lr', 'metrics', 'classes_IoU'):
        path = work_dirs[0] / 'plots' / f'{name}.png'
        assert f'written: {path}' in result.stdout
        assert path.read_bytes().startswith(b'\x89PNG')
    # The images are no runs, and do not disturb the next call.
    result = run_tool(
        *('tools/plot_logs.py', *work_dirs, '--out', tmp_path / 'out', '--metric', 'aAcc', 'loss'),
        '--json',
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert list(content['runs']) == ['a', 'b']
    assert content['runs']['b']['classes'] == {'IoU': {'cat': 30.0, 'dog': 50.0}}
    assert all(Path(path).is_file() for path in content['written'])


def test_what_is_wrong_is_one_line(run_tool, work_dirs, tmp_path: Path) -> None:
    result = run_tool('tools/plot_logs.py', work_dirs[0], '--metric', 'mloU')
    assert result.returncode == 1
    assert result.stderr.startswith('error: --metric: expected some of mIoU, aAcc, ')
    assert result.stderr.count('\n') == 1
    assert not (work_dirs[0] / 'plots').exists()
