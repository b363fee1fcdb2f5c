from pathlib import Path

import pytest
from PIL import Image

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.errors import UserError
from mmconvnext.studies.comparison.figure import draw, panels
from mmconvnext.studies.comparison.run import Row

PICTURES = {'inference': '1 × 512²'}


def test_the_figure_s_cost_is_the_time_of_a_picture(rows: list[Row]) -> None:
    gmacs, seconds = panels(rows, PICTURES)
    assert gmacs.label == 'counted here: GMACs at 2048 × 512'
    assert gmacs.cost(rows[1]) == Spread(1010, 1010, 1010)
    assert seconds.label.startswith('measured here: seconds an image')
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
