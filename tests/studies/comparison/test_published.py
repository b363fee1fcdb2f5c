"""The published numbers against the tables of those who published them."""

import re
from pathlib import Path

import pytest
import yaml

from mmconvnext.studies.comparison.families import backbone
from mmconvnext.studies.comparison.published import METRICS, SOURCES, imagenet, result, results
from tests.conftest import ROOT
from tests.reference import read_table


def metafile(package: str, path: str) -> dict[str, dict]:
    found = pytest.importorskip(package).__file__
    content = yaml.safe_load((Path(found).parent / '.mim' / 'configs' / path).read_text())
    return {model['Name']: model for model in content['Models']}


def test_every_row_has_a_source_and_the_metrics_of_its_model() -> None:
    for model, rows in results().items():
        for row in rows.values():
            assert row.source in SOURCES
            assert tuple(row.accuracy) == METRICS[model]
    assert result('upernet', 'convnext_plain', 'T') is result('upernet', 'convnext', 'T')
    assert result('upernet', 'resnet', 'B') is None


def test_resnet_matches_the_metafiles_of_mmseg_and_mmdet() -> None:
    upernet = metafile('mmseg', 'upernet/metafile.yaml')
    mask_rcnn = metafile('mmdet', 'mask_rcnn/metafile.yml')
    names = {'T': 'mask-rcnn_r50_fpn_mstrain-poly_3x_coco',
             'S': 'mask-rcnn_r101_fpn_ms-poly-3x_coco'}  # fmt: skip
    for size, depth in (('T', 50), ('S', 101)):
        metrics = upernet[f'upernet_r{depth}_4xb4-160k_ade20k-512x512']['Results']['Metrics']
        ours = results()['upernet']['resnet', size].accuracy
        assert ours == {'mIoU ms': metrics['mIoU(ms+flip)'], 'mIoU ss': metrics['mIoU']}
        box, mask = (task['Metrics'] for task in mask_rcnn[names[size]]['Results'])
        assert results()['mask_rcnn']['resnet', size].accuracy == box | mask


@pytest.mark.parametrize(
    ('model', 'names'),
    [('upernet', ('mIoU(ms+flip)', 'mIoU')), ('mask_rcnn', ('box AP', 'mask AP'))],
)
def test_segmentors_and_detectors_match_the_tables(model: str, names: tuple[str, str]) -> None:
    """ResNet apart, which the metafiles have."""
    table = read_table('ade20k' if model == 'upernet' else 'coco')
    for (family, size), one in results()[model].items():
        if family == 'resnet':
            continue
        label = backbone(family, size, model).label
        pretrained = one.setting.split(',')[0]
        (row,) = (
            row
            for row in table
            if (row['model'], row['pretrained']) == (label, pretrained)
            and row.get('detector') in (None, 'Mask R-CNN')
        )
        assert [*one.accuracy.values()] == [row[name] for name in names]
        assert (one.parameters_m, one.gflops) == (row['parameters_m'], row['gflops'])
        assert one.speed.get('A100') == row.get('a100')
        if 'crop' in row:
            assert f'{row["crop"]:.0f}²' in one.setting


def test_classifiers_match_the_table() -> None:
    for label, one in imagenet().items():
        rows = [
            row for row in read_table('imagenet') if row['model'] == label and row['side'] == 224
        ]
        assert one.accuracy == {row['pretrained']: row['Top 1 Accuracy'] for row in rows}
        for row in rows:
            assert (one.parameters_m, one.gflops) == (row['parameters_m'], row['gflops'])
            assert (one.speed.get('V100'), one.speed.get('A100')) == (row['v100'], row['a100'])


def test_what_was_measured_is_written_beside_the_same_numbers() -> None:
    page = (ROOT / 'benchmarks' / 'comparison.md').read_text()
    rows = re.findall(
        r"^\| ([\w-]+) \| [\w' .]+ \| ([\d./ ]+) \| ([–\d./ ]+) \| [\d./ ]+ \|$", page, re.M
    )
    told = {
        (label, *(float(cell) for cell in f'{a} / {b}'.split(' / ') if cell != '–'))
        for label, a, b in rows
    }
    assert told == {
        (
            backbone(family, size, model).label,
            *one.accuracy.values(),
            *filter(None, (one.parameters_m, one.gflops)),
        )
        for model, rows in results().items()
        for (family, size), one in rows.items()
    }
