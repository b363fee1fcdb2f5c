import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmconvnext.compat import PATCHES
from mmconvnext.doctor import facts, report
from mmconvnext.doctor.facts import Facts, collect
from mmconvnext.doctor.problems import find_problems
from mmconvnext.ops import extension

ENVIRONMENT = facts.collect()


def described() -> list[str]:
    found = collect()
    rows = [f'{name}: {value}' for name, value in report.rows(found)]
    return [*rows, *report.verdict(find_problems(found))]


def test_describes_versions_operators_and_failures() -> None:
    lines = described()
    text = '\n'.join(lines)
    assert lines[0].startswith('mmconvnext: ')
    assert 'mmengine: ' in text
    assert ('mmcv.ops.others: compiled' in lines) is extension.is_compiled()
    for operator in ('nms', 'softnms', 'roi_align'):
        assert f'mmcv.ops.{operator}: ' in text


def test_names_are_normalized_and_the_package_itself_is_found() -> None:
    assert 'typing-extensions' in ENVIRONMENT.versions
    assert ENVIRONMENT.versions['python'] == sys.version.split()[0]
    assert not ENVIRONMENT.broken.keys() & {'torch', 'mmengine', 'mmconvnext'}


def test_a_package_that_is_there_but_broken_would_fail(monkeypatch) -> None:
    real = facts._import_problem
    monkeypatch.setattr(
        facts, '_import_problem', lambda m: 'undefined symbol' if m == 'mmseg.models' else real(m)
    )
    lines = described()
    assert 'would fail: mmseg: cannot be imported: undefined symbol' in lines
    assert any('→ segmentation needs it: pip install --force-reinstall' in line for line in lines)
    assert 'nothing here would fail' not in lines


def test_what_needs_something_broken_is_not_tried(monkeypatch) -> None:
    tried = []

    def problem(module: str) -> str | None:
        tried.append(module)
        return 'broken' if module == 'mmengine.runner' else None

    monkeypatch.setattr(facts, '_import_problem', problem)
    found = collect()
    assert found.broken['mmengine'] == 'broken'
    assert 'mmcv.ops' not in tried
    assert 'mmdet.models' not in tried
    assert found.operators == {}


def run_main(monkeypatch, capsys, found: Facts, *arguments: str) -> tuple[object, str]:
    monkeypatch.setattr(report, 'collect', lambda package_problem: found)
    monkeypatch.setattr(sys, 'argv', ['doctor', *arguments])
    with pytest.raises(SystemExit) as ended:
        report.main('help')
    return ended.value.code, capsys.readouterr().out


def test_each_change_to_other_packages_is_told_with_its_state(monkeypatch, capsys) -> None:
    _, told = run_main(monkeypatch, capsys, ENVIRONMENT)
    changes = told.partition('Changes to other packages')[2]
    for patch in PATCHES:
        assert re.search(rf'^{re.escape(patch.name)} +{patch.state} +\S', changes, re.M), told


@pytest.mark.parametrize('arguments', [[], ['--json']])
def test_the_exit_code_is_1_where_something_would_fail(monkeypatch, capsys, arguments) -> None:
    fine = ENVIRONMENT._replace(broken={}, variables={'MMCONVNEXT_ROI_ALIGN': 'x'})
    code, told = run_main(monkeypatch, capsys, fine, *arguments)
    assert int(code) == 0, told
    broken = fine._replace(broken={'mmdet': 'undefined symbol'})
    code, told = run_main(monkeypatch, capsys, broken, *arguments)
    assert int(code) == 1
    assert 'undefined symbol' in told
    if arguments:
        told = json.loads(told)
        assert told['ok'] is False
        certain, *notes = [problem['certain'] for problem in told['problems']]
        assert certain
        assert notes
        assert not any(notes)  # such as of a torch for CUDA on a machine without a GPU
        assert [c['place'] for c in told['changes']] == [patch.place for patch in PATCHES]
        assert told['packages'].keys() >= {'mmengine', 'mmcv', 'mmdet', 'mmseg'}


def test_the_module_without_openmmlab_answers_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'mmengine.py').write_text("raise ModuleNotFoundError('No module named mmengine')")
    result = subprocess.run(
        [sys.executable, '-m', 'mmconvnext'],
        env={'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith('error: mmconvnext: expected OpenMMLab beside it')
    assert 'pip install "mmconvnext[openmmlab]"' in line
