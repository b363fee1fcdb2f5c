import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_says_what_is_here_as_json(run_tool) -> None:
    result = run_tool('tools/doctor.py', '--json')
    told = json.loads(result.stdout)
    assert result.returncode == (0 if told['ok'] else 1), result.stdout
    assert told['packages']['mmengine']
    assert told['torch']['version']


def test_answers_where_mmengine_cannot_be_imported(tmp_path: Path) -> None:
    """A process of its own, not forked from one that has imported mmengine."""
    (tmp_path / 'mmengine').mkdir()
    (tmp_path / 'mmengine/__init__.py').write_text(
        'raise ModuleNotFoundError("No module named \'addict\'")'
    )
    result = subprocess.run(
        [sys.executable, 'tools/doctor.py'],
        cwd=ROOT,
        env={'PYTHONPATH': str(tmp_path), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr == ''
    failures = [line for line in result.stdout.splitlines() if line.startswith('would fail')]
    assert failures == ["would fail: mmengine: cannot be imported: No module named 'addict'"]
    assert '→ pip install addict' in result.stdout
