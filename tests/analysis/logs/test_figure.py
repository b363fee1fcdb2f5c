import math
from pathlib import Path

import numpy as np
import pytest

from mmconvnext.analysis.logs.figure import (
    classes_figure,
    draw_all,
    loss_figure,
    main_metrics,
    metrics_figure,
    rates_figure,
)
from mmconvnext.analysis.logs.runs import Point, Run
from mmconvnext.errors import UserError
from mmconvnext.figures import line_style, new_figure, save


def run(name: str, per_epoch: int | None = None, **more: object) -> Run:
    training = [Point(i, {'loss': 1 / i, 'lr': 0.1, 'stem_lr': 0.05, 'base_lr': 0.2}) for i in
                range(1, 201)]  # fmt: skip
    options = dict(evaluations=[Point(200, {'mIoU': 50.0})], classes={}) | more
    return Run(name, training, per_epoch=per_epoch, **options)


def has_white_margin(path: Path) -> bool:
    import cv2

    picture = cv2.imread(str(path))
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return bool((edge == 255).all())


def test_all_figures_are_written_and_nothing_is_cut_off(tmp_path: Path) -> None:
    scores = {f'class {n}': float(n % 90) for n in range(120)} | {'none': math.nan}
    long_name = 'a_long_name_of_a_run_that_says_all_that_was_changed_in_it_' * 2
    runs = [run(long_name, classes={'IoU': scores}), run('b', classes={'IoU': scores})]
    paths = draw_all(runs, ['mIoU', 'loss', 'lr'], None, tmp_path / 'out')
    names = [path.name for path in paths]
    assert names == ['loss.png', 'lr.png', 'metrics.png', 'classes_IoU.png']
    assert sorted(names) == sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert all(has_white_margin(path) for path in paths)


def test_loss_shows_raw_and_smooth_unless_there_is_nothing_to_smooth() -> None:
    (axes,) = loss_figure([run('a')], None).axes
    raw, smooth = axes.lines
    assert raw.get_alpha() < 1
    assert list(raw.get_ydata()) == [1 / i for i in range(1, 201)]
    assert smooth.get_ydata()[100] == pytest.approx(np.mean([1 / i for i in range(99, 104)]))
    (axes,) = loss_figure([run('a')], 1).axes
    assert len(axes.lines) == 1


def test_rates_are_of_heads_and_stem() -> None:
    (axes,) = rates_figure([run('a')]).axes
    heads, stem = axes.lines
    assert set(heads.get_ydata()) == {0.2}
    assert set(stem.get_ydata()) == {0.05}
    assert heads.get_color() == stem.get_color()


def test_time_is_in_epochs_where_all_runs_count_them() -> None:
    (axes,) = metrics_figure([run('a', per_epoch=100), run('b', per_epoch=50)], ['mIoU']).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[2.0], [4.0]]
    assert axes.get_xlabel() == 'epoch'
    (axes,) = metrics_figure([run('a', per_epoch=100), run('b')], ['mIoU']).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[200], [200]]
    assert axes.get_xlabel() == 'iteration'


def test_classes_are_sorted_and_the_missing_come_last() -> None:
    scores = {'a': 20.0, 'none': math.nan, 'b': 80.0}
    figure = classes_figure('IoU', {'run': scores, 'other': {'b': 70.0}})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ['b', 'a', 'none']
    assert [bar.get_width() for bar in axes.patches][:2] == [80.0, 20.0]
    np.testing.assert_equal(axes.lines[0].get_xdata(), [70.0, math.nan, math.nan])
    assert [text.get_text() for text in figure.legends[0].texts] == [
        'run: mean 50.0 (bars)', 'other: mean 70.0'
    ]  # fmt: skip


def test_a_metric_of_zero_has_an_axis_of_possible_values() -> None:
    for value, lowest in ((0.0, -0.02), (50.0, 40)):
        (axes,) = metrics_figure([run('a', evaluations=[Point(1, {'mIoU': value})])], ['mIoU']).axes
        assert axes.get_ylim()[0] >= lowest


def test_main_metrics_are_the_papers() -> None:
    coco = {'coco/bbox_mAP_50': 0.5, 'coco/segm_mAP': 0.3, 'coco/bbox_mAP': 0.4}
    assert main_metrics([run('a'), run('b', evaluations=[Point(1, coco)])]) == [
        'mIoU', 'coco/bbox_mAP', 'coco/segm_mAP'
    ]  # fmt: skip
    other = [Point(1, dict.fromkeys('abcde', 1.0))]
    assert main_metrics([run('a', evaluations=other)]) == ['a', 'b', 'c', 'd']
    assert main_metrics([run('a', evaluations=[])]) == []


def test_styles_differ() -> None:
    assert len({tuple(line_style(number).values()) for number in range(28)}) == 28


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(UserError, match=r'a\.png: expected a place to write an image to'):
        save(new_figure(1, 1), tmp_path / 'a.png')
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
