import math
from pathlib import Path

import pytest

from mmconvnext.analysis.logs.runs import read_run, read_runs, smooth
from mmconvnext.errors import UserError
from tests.analysis.written_run import training, write_start


def evaluation(step: int, score: float) -> dict:
    return {'mIoU': score, 'aAcc': 2 * score, 'data_time': 0.1, 'time': 0.2, 'step': step}


def test_a_resumed_run_is_one_run(tmp_path: Path) -> None:
    """The second start goes on from iteration 30, after the first one had come to 50."""
    first = [*training((10, 20, 30)), evaluation(30, 1.0), *training((40, 50))]
    first.append(evaluation(50, 2.0))
    work_dir = write_start(tmp_path / 'a', '20260101_000000', first, [{'x': 1.0}, {'x': 2.0}])
    second = [*training((40, 60), shift=1.0), evaluation(60, 3.0)]
    write_start(work_dir, '20260102_000000', second, [{'x': 3.0}], end='{"loss": 0.1, "it')
    run = read_run(work_dir, 'a')
    iterations, losses = run.curve('loss')
    assert iterations == [10, 20, 30, 40, 60]
    assert losses[2:] == [1 / 30, 1 / 40 + 1, 1 / 60 + 1]
    assert run.curve('mIoU') == ([30, 60], [1.0, 3.0])
    assert run.metrics() == ['mIoU', 'aAcc']
    assert run.classes == {'IoU': {'x': 3.0}}
    assert run.summary() == {
        'iterations': 60,
        'metrics': {
            'mIoU': {'last': 3.0, 'best': 3.0, 'best_at': 60},
            'aAcc': {'last': 6.0, 'best': 6.0, 'best_at': 60},
        },
        'classes': {'IoU': {'x': 3.0}},
    }


def test_classes_are_of_the_last_evaluation_that_counts(tmp_path: Path) -> None:
    first = [*training((10,)), evaluation(10, 1.0), *training((20,)), evaluation(20, 2.0)]
    work_dir = write_start(tmp_path / 'a', '1', first, [{'x': 1.0}, {'x': 2.0}])
    write_start(work_dir, '2', training((15,)))  # from 12 on, say; no evaluation yet
    assert read_run(work_dir, 'a').classes == {'IoU': {'x': 1.0}}
    write_start(work_dir, '3', training((10,)))  # from the beginning
    assert read_run(work_dir, 'a').classes == {}


def test_evaluations_by_epoch_stand_at_its_end(tmp_path: Path) -> None:
    """Records at iterations 4 and 8 of epochs of 10; the step of an evaluation is an epoch."""
    records = []
    for epoch in (1, 2, 3):
        records += training([10 * (epoch - 1) + i for i in (4, 8)], per_epoch=10)
        records.append(evaluation(epoch, epoch / 10))
    run = read_run(write_start(tmp_path / 'a', '1', records), 'a')
    assert run.per_epoch == 10
    assert run.curve('mIoU')[0] == [10, 20, 30]
    # Where the step counts iterations all the same (log_metric_by_epoch=False):
    records = [*training((4, 8, 14, 18), per_epoch=10), evaluation(20, 1.0)]
    assert read_run(write_start(tmp_path / 'b', '1', records), 'b').curve('mIoU')[0] == [20]


def test_precisions_of_classes_where_there_is_no_table(tmp_path: Path) -> None:
    record = {'coco/cat_precision': 0.25, 'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_l': -1.0, 'step': 5}
    run = read_run(write_start(tmp_path / 'a', '1', [*training((5,)), record]), 'a')
    assert run.classes == {'AP': {'cat': 25.0}}
    assert run.metrics() == ['coco/bbox_mAP', 'coco/bbox_mAP_l']
    assert math.isnan(run.curve('coco/bbox_mAP_l')[1][0]), '-1: nothing was to be found'
    assert list(run.summary()['metrics']) == ['coco/bbox_mAP']


def test_runs_have_the_shortest_names_that_differ(tmp_path: Path) -> None:
    folders = [tmp_path / 'v1' / 'tiny', tmp_path / 'v2' / 'tiny', tmp_path / 'v1' / 'tiny']
    for folder in folders[:2]:
        write_start(folder, '1', training((1,)))
    assert [run.name for run in read_runs(folders)] == ['v1/tiny', 'v2/tiny']
    assert [run.name for run in read_runs(folders[:1])] == ['tiny']
    assert read_run(folders[0] / '1', '').curve('loss') == ([1], [1.0]), 'a start alone'


def test_smooth_is_a_mean_on_both_sides() -> None:
    assert smooth([1, 2, 3, 4, 5], 3) == [1.5, 2, 3, 4, 4.5]
    assert smooth([1, 2, 6], 1) == [1, 2, 6]
    assert smooth([1, math.nan, 5], 3) == [1, 3, 5]
    assert math.isnan(smooth([math.nan], 3)[0])


BROKEN = {
    'none': 'expected the work dir of a training, got nothing',
    'file': 'expected the work dir of a training, got a file',
    'empty': 'TIMESTAMP/vis_data/scalars.json, got none; give the --work-dir of tools/train.py',
    'no records': 'expected logs with at least one record, got empty ones',
    'not json': 'expected a JSON object in each line, got another thing in line 1',
    'middle': 'expected a JSON object in each line, got another thing in line 2',
    'list': 'got another thing in line 1',
    'binary': 'expected lines of JSON',
}


@pytest.mark.parametrize('kind', BROKEN)
def test_what_is_no_log_is_named(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / 'a'
    if kind == 'file':
        folder.write_text('')
    elif kind == 'empty':
        (folder / 'pictures').mkdir(parents=True)
    elif kind != 'none':
        write_start(folder, '1', [])
        path = folder / '1' / 'vis_data' / 'scalars.json'
        content = {'not json': 'loss: 3', 'middle': '{"a": 1}\n{"b\n{"a": 1}\n', 'list': '[1]\n'}
        path.write_bytes(b'\xff\xfe\x00' if kind == 'binary' else content.get(kind, '').encode())
    with pytest.raises(UserError) as caught:
        read_run(folder, 'a')
    assert BROKEN[kind] in str(caught.value)
    assert '\n' not in str(caught.value)
