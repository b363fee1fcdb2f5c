"""The published numbers against the tables they were taken from, where those are there."""

import re
from pathlib import Path

import pytest
import yaml

from mmconvnext.studies.comparison.published import IMAGENET, METRICS, RESULTS, SOURCES, result
from tests.conftest import CONFIGS, SHARED

RECIPES = SHARED / 'reference' / 'recipes.md'


def metafile(package: str, path: str) -> dict[str, dict]:
    found = pytest.importorskip(package).__file__
    content = yaml.safe_load((Path(found).parent / '.mim' / 'configs' / path).read_text())
    return {model['Name']: model for model in content['Models']}


def test_every_row_has_a_source_and_the_metrics_of_its_model() -> None:
    for model, rows in RESULTS.items():
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
        ours = RESULTS['upernet']['resnet', size].accuracy
        assert ours == {'mIoU ms': metrics['mIoU(ms+flip)'], 'mIoU ss': metrics['mIoU']}
        box, mask = (task['Metrics'] for task in mask_rcnn[names[size]]['Results'])
        assert RESULTS['mask_rcnn']['resnet', size].accuracy == box | mask


def test_convnext_matches_the_metafile_here() -> None:
    content = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
    models = {model['Name']: model for model in content['Models']}
    names = {'T': 't', 'S': 's', 'B': 'b', 'L': 'l_in22k'}
    for size, name in names.items():
        suffix = 'ade20k_640' if size == 'L' else 'ade20k'
        (found,) = models[f'upernet_convnext_{name}_{suffix}']['Results']
        ours = RESULTS['upernet']['convnext', size].accuracy
        assert list(ours.values()) == [found['Metrics']['mIoU(ms+flip)'], found['Metrics']['mIoU']]


@pytest.mark.skipif(not RECIPES.is_file(), reason='the reference tables are not here')
def test_matches_the_reference_tables() -> None:
    text = RECIPES.read_text()
    rows = [re.split(r'\s*\|\s*', line.strip('| ')) for line in text.splitlines() if '|' in line]
    for label, one in IMAGENET.items():
        if label == 'ResNet-50':
            continue
        (row,) = (row for row in rows if row[0] == label and '/' in row[3])
        v100, a100 = map(float, row[3].split('/'))
        assert [float(row[1][:-1]), float(row[2][:-1])] == [one.parameters_m, one.gflops]
        assert one.speed == {'V100': v100, 'A100': a100}
        kinds = dict(zip(('1K', '22K to 1K'), row[4:]))
        assert one.accuracy == {k: float(v) for k, v in kinds.items() if v != '–'}
    for label, family in (('Swin-T', 'swin'), ('ConvNeXt-T', 'convnext')):
        (row,) = (row for row in rows if row[0] == f'Mask R-CNN {label}')
        one = RESULTS['mask_rcnn'][family, 'T']
        assert [one.parameters_m, one.gflops] == [int(row[1][:-1]), int(row[2][:-1])]
        assert one.speed['A100'] == float(row[3])
        assert list(one.accuracy.values()) == [float(cell.split('/')[0]) for cell in row[4:]]
    (row,) = (row for row in rows if row[0] == 'Swin-T / S / B')
    swin = [RESULTS['upernet']['swin', size] for size in 'TSB']
    assert [round(one.accuracy['mIoU ms'], 1) for one in swin] == [45.8, 49.5, 49.7]
    assert row[3] == f'{" / ".join(str(one.parameters_m) for one in swin)}M'
    assert row[4] == f'{" / ".join(str(one.gflops) for one in swin)}G'
