"""torch's F.cross_entropy, with a weight and an ignored label, is the oracle."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch.nn import functional as F

from mmconvnext.registry import MODELS
from mmconvnext.segmentation.class_weights import ignore_pixels_in_class_weights

WEIGHTS = [0.5, 1.0, 3.0]


def loss_of(**options: object) -> torch.nn.Module:
    ignore_pixels_in_class_weights()
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(dict(type='CrossEntropyLoss', class_weight=WEIGHTS, **options))


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
@pytest.mark.parametrize('averaged', [True, False])
@pytest.mark.parametrize('ignored', [255, -1])
def test_matches_torch(averaged: bool, ignored: int, logits: torch.Tensor) -> None:
    labels = torch.arange(70).view(2, 5, 7) % 4
    labels[labels == 3] = ignored
    found = loss_of(avg_non_ignore=averaged)(logits, labels, ignore_index=ignored)
    expected = F.cross_entropy(logits, labels, torch.tensor(WEIGHTS), ignore_index=ignored)
    assert torch.allclose(found, expected)


def test_nothing_labelled_is_0(logits: torch.Tensor) -> None:
    labels = torch.full((2, 5, 7), 255)
    assert loss_of(avg_non_ignore=True)(logits, labels, ignore_index=255) == 0


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
@pytest.mark.parametrize('averaged', [True, False])
def test_an_ignored_class_is_weighted_as_by_mmseg(averaged: bool, logits: torch.Tensor) -> None:
    labels = torch.arange(70).view(2, 5, 7) % 3
    loss = loss_of(avg_non_ignore=averaged)
    found = loss(logits, labels, ignore_index=1)
    plain = loss.cls_criterion.__wrapped__
    loss.cls_criterion = plain
    assert found == loss(logits, labels, ignore_index=1)
    assert loss_of(avg_non_ignore=True).cls_criterion.__wrapped__ is plain, 'safe to call again'
