import json
import math

import pytest
from mmengine.config import Config

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.studies.comparison.cost import Speed
from mmconvnext.studies.comparison.families import MODELS, backbone
from mmconvnext.studies.comparison.row import Row, counted_row
from tests.conftest import CONFIGS


def row_of(model: str, family: str, size: str) -> Row:
    config = Config.fromfile(CONFIGS / MODELS[model].config)
    return counted_row(model, config, backbone(family, size, model))


@pytest.mark.parametrize(
    ('model', 'family', 'size'),
    [
        *[('upernet', 'convnext', 'T'), ('mask_rcnn', 'convnext', 'T')],
        *[('upernet', 'swin', 'T'), ('upernet', 'swin', 'S'), ('upernet', 'swin', 'B')],
        *[('mask_rcnn', 'swin', 'T'), ('mask_rcnn', 'swin', 'S')],
    ],
)
def test_counts_match_the_published_ones(model: str, family: str, size: str) -> None:
    """The papers round FLOPs up, and count Swin's attention, as is done here."""
    row = row_of(model, family, size)
    assert math.ceil(row.counted.macs / 1e9) == row.published.gflops
    assert round(row.counted.parameters / 1e6) == row.published.parameters_m


def test_resnet_101_matches_swin_s_paper() -> None:
    """arXiv 2103.14030, table 3: UperNet, ResNet-101, 86M, 1029G."""
    row = row_of('upernet', 'resnet', 'S')
    assert math.ceil(row.counted.macs / 1e9) == 1029
    assert round(row.counted.parameters / 1e6) == 86


def test_json_keeps_published_and_measured_apart() -> None:
    row = row_of('mask_rcnn', 'swin', 'T')
    row.measured['inference'] = Speed(Spread(2, 1, 4), Spread(0.5, 0.25, 1), None)
    content = json.loads(json.dumps(row.as_json()))
    assert content['published']['speed'] == {'A100': 23.1}
    assert content['published']['source'].startswith("Swin's authors")
    assert content['counted']['macs'] == row.counted.macs
    assert (content['counted']['height'], content['counted']['width']) == (800, 1280)
    assert content['measured']['inference']['pictures_per_second']['upper'] == 1
    assert row_of('mask_rcnn', 'resnet', 'B').as_json()['published'] is None
