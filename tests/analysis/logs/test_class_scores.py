import math
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MMLogger

from mmconvnext.analysis.logs.class_scores import read_class_scores
from mmconvnext.detection.coco_metric import Curves
from mmconvnext.registry import METRICS


def test_reads_what_our_iou_metric_prints(tmp_path: Path) -> None:
    log = tmp_path / 'a.log'
    MMLogger.get_instance('class scores', log_file=str(log))
    metric = METRICS.build(dict(type='IoUMetric'))
    metric.dataset_meta = dict(classes=['wall', 'screen door ', 'never | there'])
    for prediction in ([0, 0, 1, 1], [0, 1, 1, 1]):
        sample = {
            'pred_sem_seg': {'data': torch.tensor([prediction])[None]},
            'gt_sem_seg': {'data': torch.tensor([[0, 0, 1, 1]])[None]},
        }
        metric.process({}, [sample])
        metric.evaluate(1)
    first, second = read_class_scores([log])['IoU']
    assert (first['wall'], first['screen door']) == (100, 100)
    assert (second['wall'], second['screen door']) == (50, 66.67)
    assert np.isnan(first['never | there'])
    assert len(first) == 3


def test_reads_what_our_coco_metric_prints(tmp_path: Path) -> None:
    log = tmp_path / 'a.log'
    MMLogger.get_instance('class scores of coco', log_file=str(log))
    metric = METRICS.build(dict(type='CocoMetric', classwise=True))
    metric.cat_ids = [3, 1]
    names = {3: 'dog', 1: 'cat'}
    metric._coco_api = type('', (), dict(
        load_cats=staticmethod(lambda ids: [dict(id=i, name=names[i]) for i in ids])
    ))  # fmt: skip
    precision = np.full((10, 101, 2, 4, 3), 0.25)
    precision[:, :, 1] = -1
    curves = Curves(precision, precision[:, 0], np.linspace(0.5, 0.95, 10), [100, 300, 1000])
    for kind in ('bbox', 'segm'):
        metric._report_classes(kind, curves)
    found = read_class_scores([log])
    assert list(found) == ['bbox AP', 'segm AP']
    (scores,) = found['bbox AP']
    assert scores['cat'] == 25.0
    assert math.isnan(scores['dog'])


def test_other_tables_and_torn_ones_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / 'a.log'
    log.write_text(
        '+---+---+\n| a | b |\n+---+---+\n| 1 | 2 |\n+---+---+\n'
        '+-------+-----+\n| Class | IoU |\n+-------+-----+\n| x     | many |\n+-------+-----+\n'
        '+-------+-----+\n| Class | IoU |\n+-------+-----+\n| x     | 3.0 |\n'
    )
    assert read_class_scores([log]) == {}
