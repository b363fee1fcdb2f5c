from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric as PlainIoUMetric
from torch import Tensor

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import METRICS
from mmconvnext.segmentation import IoUMetric

CLASSES = 7


def sample(prediction: Tensor, label: Tensor, name: str = 'a.jpg', **meta: object) -> dict:
    return {
        'pred_sem_seg': {'data': prediction[None]},
        'gt_sem_seg': {'data': label[None]},
        'img_path': name,
        **meta,
    }


def evaluate(metric: PlainIoUMetric, samples: list[dict], classes: int = CLASSES) -> dict:
    metric.dataset_meta = dict(classes=[f'c{i}' for i in range(classes)])
    for one in samples:
        metric.process({}, [one])
    return metric.evaluate(len(samples))


@given(
    st.integers(2, 12),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([255, 0, 3, -1]),
    st.sampled_from([(torch.int64, torch.int64), (torch.float32, torch.uint8)]),
    st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=150)
def test_areas_match_mmseg(
    classes: int,
    height: int,
    width: int,
    ignored: int,
    dtypes: tuple[torch.dtype, torch.dtype],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([*range(classes + 3), 255])  # some of no class
    prediction, label = (
        values[torch.randint(len(values), (height, width), generator=generator)].to(dtype)
        for dtype in dtypes
    )
    label = label.to(prediction)
    arguments = (prediction, label, classes, ignored)
    expected = PlainIoUMetric.intersect_and_union(*arguments)
    result = IoUMetric.intersect_and_union(*arguments)
    for mine, theirs in zip(result, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)


def test_negative_labels_and_one_class_match_mmseg() -> None:
    prediction, label = torch.randint(-2, 9, (20, 20)), torch.randint(-2, 9, (20, 20))
    for classes in (1, 5):
        expected = PlainIoUMetric.intersect_and_union(prediction, label, classes, 255)
        result = IoUMetric.intersect_and_union(prediction, label, classes, 255)
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(result, expected))


@pytest.mark.parametrize('fast', [True, False])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(iou_metrics=['mIoU', 'mDice', 'mFscore'], beta=2, prefix='a'),
        dict(nan_to_num=0, ignore_index=0),
    ],
)
def test_metrics_match_mmseg_to_the_last_digit(options: dict, fast: bool) -> None:
    samples = [
        sample(torch.randint(0, 5, (31, 17)), torch.randint(0, CLASSES + 1, (31, 17)))
        for _ in range(5)
    ]
    expected = evaluate(PlainIoUMetric(**options), samples)
    np.testing.assert_equal(evaluate(IoUMetric(fast=fast, **options), samples), expected)


def test_areas_wait_on_the_device_and_come_as_one(monkeypatch) -> None:
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=['a', 'b'])
    moved = []
    monkeypatch.setattr(
        torch.Tensor, 'cpu', lambda self: moved.append(tuple(self.shape)) or self.clone()
    )
    for _ in range(3):
        metric.process({}, [sample(torch.ones(4, 4).long(), torch.ones(4, 4).long())])
    assert moved == []
    monkeypatch.setattr(metric, 'compute_metrics', lambda results: {'pictures': len(results)})
    # The loader of several processes repeats an image at the end, which is not to count.
    assert metric.evaluate(2) == {'pictures': 2}
    assert moved == [(3, 4, 2)]
    assert metric.results == []


def test_two_evaluations_and_none() -> None:
    metric = IoUMetric()
    samples = [sample(torch.zeros(4, 4).long(), torch.zeros(4, 4).long())]
    assert evaluate(metric, samples) == evaluate(metric, samples)
    assert IoUMetric(255, ['mDice']).metrics == ['mDice']


def test_names_both_sizes() -> None:
    with pytest.raises(ArgumentError, match=r'labels, \(4, 6\), got \(4, 5\); .*after Resize'):
        evaluate(IoUMetric(), [sample(torch.zeros(4, 5).long(), torch.zeros(4, 6).long())])


def test_writes_predictions_as_mmseg(tmp_path: Path) -> None:
    prediction, label = torch.randint(0, 5, (9, 8)), torch.randint(0, 5, (9, 8))
    written = sample(prediction, label, 'pictures/x.jpg', reduce_zero_label=True)
    assert evaluate(IoUMetric(output_dir=str(tmp_path), format_only=True), [written]) == {}
    picture = cv2.imread(str(tmp_path / 'x.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture, prediction.numpy() + 1)


def test_builds_from_any_scope() -> None:
    assert type(METRICS.build(dict(type='IoUMetric'))) is IoUMetric
    evaluator = Evaluator([dict(type='mmconvnext.IoUMetric', iou_metrics=['mIoU'])])
    assert type(evaluator.metrics[0]) is IoUMetric
