import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from mmconvnext.classification import TopKAccuracy
from mmconvnext.errors import ArgumentError


def sample(scores: list[float], label: int) -> dict:
    return {'pred_score': torch.tensor(scores), 'gt_label': torch.tensor([label])}


def accuracy(samples: list[dict], topk=(1, 2)) -> dict[str, float]:
    metric = TopKAccuracy(topk)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_matches_closed_form() -> None:
    found = accuracy([sample([0.5, 0.3, 0.2], label) for label in (0, 1, 2, 0)])
    assert found == {'top1': 50.0, 'top2': 75.0}


def test_more_than_there_are_classes_is_all_right() -> None:
    assert accuracy([sample([0.1, 0.9], 0)], topk=5) == {'top5': 100.0}


def test_ties_go_to_the_lower_number() -> None:
    """A model that always says the same is right for one class, not for all."""
    found = accuracy([sample([0.25] * 4, label) for label in range(4)])
    assert found == {'top1': 25.0, 'top2': 50.0}


def test_nan_is_never_right() -> None:
    scores = [math.nan, 0.5]
    assert accuracy([sample(scores, label) for label in (0, 1)], (1, 5)) == {'top1': 0, 'top5': 0}


def test_what_a_sampler_added_does_not_count() -> None:
    metric = TopKAccuracy(1)
    metric.process(None, [sample([1.0, 0.0], label) for label in (0, 0, 1)])
    assert metric.evaluate(2) == {'top1': 100.0}


def test_takes_what_the_model_gives() -> None:
    element = BaseDataElement(gt_label=torch.tensor([1]), pred_score=torch.tensor([0.2, 0.8]))
    evaluator = Evaluator(dict(type='mmconvnext.TopKAccuracy', topk=(1, 5)))
    evaluator.process([element])
    assert evaluator.evaluate(1) == {'top1': 100.0, 'top5': 100.0}


@pytest.mark.parametrize('topk', [(), 0, (1, -1), ('1',)])
def test_other_k(topk) -> None:
    with pytest.raises(ArgumentError, match='topk: expected integers of 1 or more'):
        TopKAccuracy(topk)
