"""Counting and measuring together, and what is drawn and written of it."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image
from rich.console import Console

from mmconvnext.analysis.benchmark import Spread
from mmconvnext.analysis.comparison.cost import Speed
from mmconvnext.analysis.comparison.families import FAMILIES, SIZES, chosen
from mmconvnext.analysis.comparison.figure import draw, panels
from mmconvnext.analysis.comparison.machine import machine
from mmconvnext.analysis.comparison.published import result
from mmconvnext.analysis.comparison.row import Row
from mmconvnext.analysis.comparison.run import Settings, compare
from mmconvnext.analysis.comparison.table import comparison_table, imagenet_table
from mmconvnext.analysis.complexity import Complexity
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS

PICTURES = {'inference': '1 × 512²'}


@pytest.fixture
def rows() -> list[Row]:
    """All of UperNet, measured in inference apart from size L."""
    found = []
    for place, one in enumerate(chosen('upernet', FAMILIES, SIZES)):
        counted = Complexity(10**12 + place * 10**10, 60_000_000)
        published = result('upernet', one.family, one.size)
        speed = Speed(Spread(2, 1, 4), Spread(0.5, 0.25, 1), 3 * 2**20)
        measured = {} if one.size == 'L' else {'inference': speed}
        found.append(Row('upernet', one, published, counted, measured))
    return found


def text_of(table: object) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        console.print(table, highlight=False)
    return captured.get()


def test_one_size_s_backbones_take_turns() -> None:
    """On the samples' detector with its small head."""
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    options = dict(modes=('inference',), image_size=(64, 64), rounds=1, quick=True)
    watched: list[int] = []

    def watch(_: str, total: int):
        watched.append(total)
        return nullcontext(lambda _: None)

    settings = Settings(('swin', 'resnet'), ('T',), **options)
    found = compare('mask_rcnn', config, settings, None, watch)
    assert [row.backbone.label for row in found] == ['Swin-T', 'ResNet-50']
    assert all(row.measured['inference'].seconds.median > 0 for row in found)
    assert settings.in_words('mask_rcnn') == {'inference': '1 × 64²'}
    assert compare('mask_rcnn', config, Settings(('resnet',), ('L',), **options), None, watch) == []
    assert watched == [2 * 2], 'a first step and a round of each'


def test_each_column_says_whose_numbers_it_has(rows: list[Row]) -> None:
    table = comparison_table(rows, PICTURES)
    groups = [str(column.header).split('\n')[0] for column in table.columns[1:]]
    assert groups == ['published'] * 3 + ['counted here'] + ['measured here'] * 2
    text = text_of(table)
    assert re.search(r'Swin-T +│ \(2\) 1K.*│ +45\.81 / 44\.51 │ +60 / 945 │', text)
    assert re.search(r'ResNet-152 +│ – +│ +– │ +– │ 60\.00 / [\d,.]+ │ 0\.500 \[', text)
    assert re.search(r'ConvNeXt-L .* – │ +– │\n', text), 'not measured'
    assert "(2) Swin's authors" in text
    assert 'Measured: inference 1 × 512²' in text


def test_imagenet_s_table_is_all_published() -> None:
    table = imagenet_table(['ConvNeXt-T', 'ResNet-101', 'Swin-L'])
    assert {str(column.header).split('\n')[0] for column in table.columns[1:]} == {'published'}
    text = text_of(table)
    assert re.search(r'ConvNeXt-T .* 82\.1 .* 1,943\.5', text)
    assert re.search(r'Swin-L +│ +– │ +86\.3 │', text)
    assert 'ResNet-101' not in text
    assert imagenet_table(['ResNet-101']) is None


def test_the_figure_s_cost_is_the_time_of_a_picture(rows: list[Row]) -> None:
    gmacs, seconds = panels(rows, PICTURES)
    assert gmacs.label == 'counted here: GMACs at 2048 × 512'
    assert gmacs.cost(rows[1]) == Spread(1010, 1010, 1010)
    assert seconds.label.startswith('measured here: seconds a picture')
    assert seconds.cost(rows[0]) == Spread(2, 1, 4)
    assert seconds.cost(rows[-1]) is None


def test_a_panel_for_each_cost(rows: list[Row], tmp_path: Path) -> None:
    widths = []
    for pictures in ({}, PICTURES, {**PICTURES, 'training': '2 × 512²'}):
        path = tmp_path / f'{len(pictures)}.png'
        draw(rows, path, {'upernet': pictures}, 'a machine' if pictures else '')
        with Image.open(path) as picture:
            widths.append(picture.width)
    assert widths == sorted(set(widths))
    assert [*tmp_path.glob('.*')] == [], 'nothing half-written'
    with pytest.raises(UserError, match='expected a place to write'):
        draw(rows, tmp_path / '1.png' / 'a.png', {}, '')


def test_a_machine_in_words() -> None:
    here = machine('cpu', 'python tools/compare_backbones.py')
    assert re.fullmatch(r'.+, \d+ threads?, torch \S+, \d{4}-\d\d-\d\d', str(here))
    assert here.load is None or here.load >= 0
