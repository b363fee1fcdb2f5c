from contextlib import nullcontext

from mmengine.config import Config

from mmconvnext.studies.comparison.run import Settings, compare
from tests.conftest import CONFIGS


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
