"""tools/roadmap.py in a process of its own, as a person runs it."""

import json
from pathlib import Path

import pytest

from tests.studies.roadmap.test_runs import write_run


@pytest.fixture(scope='module')
def result(run_tool, tmp_path_factory):
    """Two steps with an own result and times."""
    folder = tmp_path_factory.mktemp('roadmap')
    work_dir = write_run(folder / 'work', '1', 70.0)
    done = run_tool(
        *('tools/roadmap.py', '--steps', 'resnet50', 'depthwise', '--results', work_dir),
        *('--bench', '--image-size', 32, '--rounds', 1, '--batch', 2),
        *('--json', folder / 'numbers.json', '--out', folder / 'out'),
        OMP_NUM_THREADS='1',
    )
    return done, folder


def test_prints_the_table_and_writes_picture_and_numbers(result) -> None:
    done, folder = result
    assert done.returncode == 0, done.stderr
    for part in ('25.56', '4.089', '2.350', '78.28 ± 0.08', '70.00', 'Swin-T', '1 interleaved'):
        assert part in done.stdout
    path = folder / 'out' / 'roadmap_resnet50.png'
    assert f'written: {path}' in done.stdout
    assert path.read_bytes().startswith(b'\x89PNG')
    (way,) = json.loads((folder / 'numbers.json').read_text())
    assert [step['name'] for step in way['steps']] == ['resnet50', 'depthwise']
    assert way['steps'][1]['own'][0]['top1'] == 70
    assert way['steps'][0]['measured']['inference_seconds']['median'] > 0


def test_json_alone_on_stdout(run_tool, tmp_path: Path) -> None:
    done = run_tool(
        'tools/roadmap.py', '--regime', 'both', '--steps', 'width', '--json', '--out', tmp_path
    )
    assert done.returncode == 0, done.stderr
    ways = json.loads(done.stdout)
    assert [way['regime'] for way in ways] == ['resnet50', 'resnet200']
    assert (tmp_path / 'roadmap_both.png').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--results', 'none'), 'error: none: expected a work dir of tools/train.py'),
        (('--steps', 'depth'), 'error: --steps: expected some of resnet50, stage_ratio, '),
    ],
)
def test_what_is_wrong_is_one_line(run_tool, tmp_path: Path, arguments, message: str) -> None:
    done = run_tool('tools/roadmap.py', *arguments, '--out', tmp_path / 'out')
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count('\n') == 1
    assert not (tmp_path / 'out').exists()
