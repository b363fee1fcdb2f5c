import json
import math
from contextlib import nullcontext

import pytest
from mmengine.config import Config

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.studies.comparison.cost import Speed
from mmconvnext.studies.comparison.families import MODELS, backbone
from mmconvnext.studies.comparison.run import Row, Settings, compare, counted_row
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


def test_what_is_measured_is_handed_over_after_each_size() -> None:
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    settings = Settings(
        ('resnet',), ('T', 'S'), ('inference',), image_size=(64, 64), rounds=1, quick=True
    )
    kept: list[dict[str, bool]] = []
    compare(
        *('mask_rcnn', config, settings, None, lambda *_: nullcontext(lambda _: None)),
        keep=lambda rows: kept.append({row.backbone.label: bool(row.measured) for row in rows}),
    )
    assert kept == [
        {'ResNet-50': True, 'ResNet-101': False},
        {'ResNet-50': True, 'ResNet-101': True},
    ]
