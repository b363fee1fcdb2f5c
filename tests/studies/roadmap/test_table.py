import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.analysis.cost.complexity import Complexity
from mmconvnext.studies.roadmap.costs import Timing
from mmconvnext.studies.roadmap.figure import draw_roadmap, roadmap_figure
from mmconvnext.studies.roadmap.runs import DataSet, OwnResult
from mmconvnext.studies.roadmap.steps import ROADMAP
from mmconvnext.studies.roadmap.table import Way, make_way

SAMPLES = DataSet('/somewhere/samples/val', 5)


def make(regime: str = 'resnet50', *, more: bool = False, steps=ROADMAP) -> Way:
    counted = {s.name: Complexity(10**9 * (n + 1), 10**6 * (n + 1)) for n, s in enumerate(ROADMAP)}
    if not more:
        return make_way(regime, steps, counted)
    own = {(regime, 'depthwise'): {SAMPLES: OwnResult(97.5, 0.5, 2)}}
    spread = Spread(0.2, 0.1, 0.3)
    timings = {step.name: Timing(spread, spread) for step in ROADMAP}
    return make_way(regime, steps, counted, own, timings, 'on a machine')


def text(way: Way) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(way.render())
    return console.file.getvalue()


def line(way: Way, start: str) -> str:
    (found,) = (one for one in text(way).splitlines() if one.strip('│ ').startswith(start))
    return ' '.join(found.replace('│', ' ').split())


def test_counted_and_published_stand_in_columns_of_their_own() -> None:
    way = make()
    assert line(way, 'ResNet-50  ') == 'ResNet-50 1.00 1.000 4.09 78.82 ± 0.07'
    assert line(way, 'kernel size 9') == 'kernel size 9 (not kept) 10.00 10.000 4.21 80.57 ± 0.06'
    assert line(way, 'Swin-T') == 'Swin-T, for comparison – – 4.50 81.30'
    assert 'yours' not in text(way)
    assert 'measured' not in text(way)


def test_contradictions_of_the_paper_are_marked() -> None:
    way = make()
    assert '4.46¹' in line(way, 'BN → LN')
    assert '4.49²' in line(way, 'separate downsampling = ConvNeXt-T')
    assert '¹ Table 10 prints 4.46 GFLOPs and figure 2 prints 4.2' in text(way)
    assert '¹' not in text(make('resnet200'))


def test_own_accuracy_names_its_data_and_times_their_machine() -> None:
    way = make(more=True)
    end = '78.28 ± 0.08 97.50 ± 0.50 (2 work dirs) 200 [100, 300] 200 [100, 300]'
    assert line(way, 'depthwise conv').endswith(end)
    assert ' – 200 [100, 300]' in line(way, 'width')
    for part in ('yours: top-1, %', 'samples/val', '5 classes', '/somewhere/samples/val',
                 'only on ImageNet-1K', 'Measured: on a machine.'):  # fmt: skip
        assert part in text(way)


@pytest.mark.parametrize(
    ('result', 'cell'),
    [
        (OwnResult(97.5, None, 1), '97.50 '),
        (OwnResult(97.5, None, 1, 'epoch 3 of 300'), '97.50 (epoch 3 of 300) '),
        (OwnResult(97.5, 0.5, 2, '1 unfinished'), '97.50 ± 0.50 (2 work dirs, 1 unfinished) '),
    ],
)
def test_own_accuracy_before_the_end_is_marked(result: OwnResult, cell: str) -> None:
    steps = ROADMAP[3:4]
    own = {('resnet50', 'depthwise'): {SAMPLES: result}}
    way = make_way('resnet50', steps, {'depthwise': Complexity(1, 1)}, own)
    assert f' {cell}' in f'{line(way, "depthwise conv")} '
    figure = roadmap_figure([way])
    texts = [one.get_text() for one in figure.axes[1].texts]
    assert texts == [f'97.50{"…" * bool(result.unfinished)}']
    legend = [one.get_text() for one in figure.legends[0].get_texts()]
    assert ('your training is unfinished' in legend) is bool(result.unfinished)


def test_json_keeps_apart_what_is_whose() -> None:
    content = make(more=True).as_json()
    step = content['steps'][3]
    assert step['name'] == 'depthwise'
    assert step['counted'] == {'macs': 4 * 10**9, 'parameters': 4 * 10**6}
    assert step['published'] == {'top1': 78.28, 'deviation': 0.08, 'gflops': 2.35, 'note': ''}
    (own,) = step['own']
    assert own == {**SAMPLES._asdict(), 'top1': 97.5, 'deviation': 0.5, 'runs': 2, 'unfinished': ''}
    assert step['measured']['training_seconds'] == {'median': 0.2, 'lower': 0.1, 'upper': 0.3}
    assert make().as_json()['steps'][0]['measured'] is None


@pytest.mark.parametrize('more', [False, True])
@pytest.mark.parametrize('regimes', [('resnet50',), ('resnet50', 'resnet200')])
def test_nothing_is_cut_off(tmp_path: Path, regimes: tuple[str, ...], more: bool) -> None:
    path = tmp_path / 'out' / 'a.png'
    draw_roadmap([make(regime, more=more) for regime in regimes], path)
    assert [one.name for one in path.parent.iterdir()] == ['a.png']
    picture = cv2.imread(str(path))
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (edge == 255).all()


def test_bars_are_the_published_and_the_own() -> None:
    published, own, macs, parameters, inference, training = roadmap_figure([make(more=True)]).axes
    widths = [bar.get_width() for bar in published.patches]
    assert len(widths) == len(ROADMAP) + 1
    assert widths[0] == 78.82
    assert widths[-1] == 81.30
    hatched = [bar.get_hatch() is not None for bar in published.patches[:-1]]
    assert [step.name for step, one in zip(ROADMAP, hatched) if one] == ['kernel_9', 'kernel_11']
    assert [bar.get_width() for bar in own.patches if np.isfinite(bar.get_width())] == [97.5]
    assert 'samples/val, 5 classes' in own.get_title(loc='left')
    counted, printed = (list(one.get_xdata()) for one in macs.lines)
    assert counted[:2] == [1.0, 2.0]
    assert printed[:2] == [4.09, 4.53]
    assert parameters.patches[1].get_width() == 2.0
    assert inference.patches[0].get_width() == training.patches[0].get_width() == 200


def test_a_few_steps_alone() -> None:
    steps = [ROADMAP[0], ROADMAP[-1]]
    labels = [label.get_text() for label in roadmap_figure([make(steps=steps)]).axes[0]
              .get_yticklabels()]  # fmt: skip
    assert labels == ['ResNet-50', 'separate downsampling\n= ConvNeXt-T', 'Swin-T']


@pytest.mark.parametrize(
    ('more', 'names'),
    [
        (False, [('ResNet-50 / ResNet-200', 'Swin-T / Swin-B')]),
        (True, [('ResNet-50', 'Swin-T'), ('ResNet-200', 'Swin-B')]),  # one above the other
    ],
)
def test_both_regimes_have_their_own_names(more: bool, names: list[tuple[str, str]]) -> None:
    figure = roadmap_figure([make(regime, more=more) for regime in ('resnet50', 'resnet200')])
    columns = len(figure.axes) // len(names)
    labels = [axes.get_yticklabels() for axes in figure.axes[::columns]]
    assert [(one[0].get_text(), one[-1].get_text()) for one in labels] == names
    titles = ' '.join(axes.get_title(loc='left') for axes in figure.axes)
    assert titles.count('ConvNeXt-T') == titles.count('ConvNeXt-B') == 1
