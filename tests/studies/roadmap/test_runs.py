import json
from pathlib import Path

import pytest

from mmconvnext.errors import UserError
from mmconvnext.studies.roadmap.runs import DataSet, OwnResult, own_results, read_own_runs
from tests.analysis.written_run import training, write_start

CONFIG = """
model = dict(type='mmconvnext.ImageClassifier', num_classes=5, backbone={backbone})
val_dataloader = dict(dataset=dict(data_root='data/mine', data_prefix=dict(img_path='val')))
test_dataloader = dict(dataset=dict(data_root='data/other', data_prefix=dict(img_path='test')))
"""
MINE = DataSet('data/mine/val', 5)


def roadmap_net(**options: str) -> dict:
    return dict(type='mmconvnext.RoadmapNet', **options)


def write_run(
    work_dir: Path,
    timestamp: str,
    top1: float | None,
    backbone: dict | None = None,
    train_cfg: dict | None = None,
) -> Path:
    """A start of a training with two evaluations, after its two epochs, or with none."""
    records = training((1, 2), per_epoch=2)
    if top1 is not None:
        records += [{'top1': 1.0, 'step': 1}, *training((3, 4), per_epoch=2)]
        records.append({'top1': top1, 'top5': 100.0, 'time': 0.1, 'step': 2})
    write_start(work_dir, timestamp, records)
    text = CONFIG.format(backbone=backbone or roadmap_net(step='depthwise'))
    text += f'train_cfg = {train_cfg}\n'
    (work_dir / timestamp / 'vis_data' / 'config.py').write_text(text)
    return work_dir


def read(*paths: Path) -> dict:
    return own_results(read_own_runs(paths)[0])


def test_the_last_evaluation_with_step_and_data_of_the_config(tmp_path: Path) -> None:
    work_dir = write_run(tmp_path / 'a', '1', 70.0)
    expected = {('resnet50', 'depthwise'): {MINE: OwnResult(70.0, None, 1)}}
    assert read(work_dir) == expected
    assert read(work_dir / '1') == expected, 'a start alone'
    assert read(work_dir / '1' / 'vis_data' / 'scalars.json') == expected, 'a log alone'
    assert MINE.label == 'mine/val, 5 classes'


def test_several_steps_in_one_work_dir_and_repeated_starts(tmp_path: Path) -> None:
    """--work-dir is the config's name by default, whatever the step is."""
    work_dir = write_run(tmp_path / 'a', '1', 70.0)
    write_run(work_dir, '2', 60.0, roadmap_net(step='resnet200', regime='resnet200'))
    write_run(work_dir, '3', 75.0)
    assert read(work_dir) == {
        ('resnet50', 'depthwise'): {MINE: OwnResult(75.0, None, 1)},
        ('resnet200', 'resnet50'): {MINE: OwnResult(60.0, None, 1)},
    }


def test_runs_of_several_work_dirs_have_a_deviation(tmp_path: Path) -> None:
    for name, top1 in (('a', 70.0), ('b', 72.0)):
        write_run(tmp_path / name, '1', top1)
    assert read(tmp_path) == {
        ('resnet50', 'depthwise'): {MINE: OwnResult(71.0, pytest.approx(2**0.5), 2)}
    }


def test_a_training_that_has_not_ended_says_how_far_it_was(tmp_path: Path) -> None:
    ended, going_on = dict(max_epochs=2), dict(max_epochs=300)
    for name, epochs in (('a', ended), ('b', going_on), ('c', going_on)):
        write_run(tmp_path / name, '1', 70.0, train_cfg=epochs)
    place = ('resnet50', 'depthwise')
    assert read(tmp_path / 'a')[place][MINE] == OwnResult(70.0, None, 1)
    assert read(tmp_path / 'b')[place][MINE] == OwnResult(70.0, None, 1, 'epoch 2 of 300')
    assert read(tmp_path)[place][MINE] == OwnResult(70.0, 0.0, 3, '2 unfinished')


def test_of_a_single_epoch_and_of_iterations_as_well(tmp_path: Path) -> None:
    write_run(tmp_path / 'a', '1', None, train_cfg=dict(max_epochs=5))
    with (tmp_path / 'a' / '1' / 'vis_data' / 'scalars.json').open('a') as log:
        log.write(json.dumps({'top1': 50.0, 'step': 1}) + '\n')
    (results,) = read(tmp_path / 'a').values()
    assert results[MINE].unfinished == 'epoch 1 of 5'
    write_run(tmp_path / 'b', '1', None, train_cfg=dict(max_iters=9))
    records = [*training((2, 4)), {'top1': 60.0, 'step': 4}]
    text = ''.join(json.dumps(record) + '\n' for record in records)
    (tmp_path / 'b' / '1' / 'vis_data' / 'scalars.json').write_text(text)
    (results,) = read(tmp_path / 'b').values()
    assert results[MINE].unfinished == 'iteration 4 of 9'


def test_a_test_counts_on_its_own_data(tmp_path: Path) -> None:
    start = write_run(tmp_path / 'a', '2', None) / '2'
    (start / 'vis_data' / 'scalars.json').unlink()
    (start / '2.json').write_text(json.dumps({'top1': 81.5, 'top5': 95.0, 'time': 0.1}))
    (results,) = read(tmp_path / 'a').values()
    assert results == {DataSet('data/other/test', 5): OwnResult(81.5, None, 1)}


@pytest.mark.parametrize(
    ('backbone', 'place'),
    [
        (roadmap_net(), ('resnet50', 'separate_downsampling')),
        (dict(type='mmconvnext.ConvNeXt', arch='base'), ('resnet200', 'separate_downsampling')),
    ],
)
def test_the_last_step_is_convnext(tmp_path: Path, backbone: dict, place: tuple) -> None:
    assert list(read(write_run(tmp_path / 'a', '1', 70.0, backbone))) == [place]


def test_what_does_not_belong_is_left_out_with_a_word(tmp_path: Path) -> None:
    write_run(tmp_path / 'a', '1', 70.0)
    write_run(tmp_path / 'b', '1', 70.0, dict(type='mmconvnext.ConvNeXt', arch='small'))
    runs, (problem,) = read_own_runs([tmp_path])
    assert len(runs) == 1
    assert 'got ConvNeXt small' in problem


BROKEN = {
    'nothing': 'got nothing',
    'picture': 'got another file',
    'empty': 'got a folder without TIMESTAMP/vis_data/scalars.json',
    'no top1': 'expected an evaluation with top1 in percent, got none',
    'foreign': 'got ResNet; give runs of configs/roadmap_resnet50_in1k.py',
    'step': "got 'depth'",
    'sizes': 'expected a run of a RoadmapNet, or of a ConvNeXt tiny or base',
    'no model': 'expected a config with a model, found none',
    'no config': 'expected its config',
    'config': 'not a usable config',
    'json': 'expected a JSON object in each line',
}


@pytest.mark.parametrize('kind', BROKEN)
def test_what_is_no_run_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / 'a'
    backbones = {'foreign': dict(type='ResNet'), 'step': roadmap_net(step='depth')}
    backbones['sizes'] = dict(type='mmconvnext.ConvNeXt', arch=dict(depths=(1, 1, 1, 1)))
    if kind == 'picture':
        path = tmp_path / 'a.png'
        path.write_bytes(b'')
    elif kind == 'empty':
        path.mkdir()
    elif kind != 'nothing':
        write_run(path, '1', None if kind == 'no top1' else 70.0, backbones.get(kind))
        config = path / '1' / 'vis_data' / 'config.py'
        if kind == 'no config':
            config.unlink()
        elif kind == 'config':
            config.write_text('model = 1 / 0')
        elif kind == 'no model':
            config.write_text('model = [1]')
        elif kind == 'json':
            (path / '1' / 'vis_data' / 'scalars.json').write_text('[1]\nno')
    with pytest.raises(UserError) as caught:
        read_own_runs([path])
    assert BROKEN[kind] in str(caught.value)
    assert '\n' not in str(caught.value)
