"""Top-k accuracy."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import METRICS

_NEVER = -1  # a rank that never counts as correct


@METRICS.register_module()
class TopKAccuracy(BaseMetric):
    """Percentage of images whose label is among the k classes with the highest scores.

    It takes data samples with ``pred_score`` and ``gt_label`` and returns ``top1``, ``top5``, ….
    Among equal scores the lower class number comes first; an image with NaN in its scores counts
    as wrong. ``topk`` lists the values of k; if k exceeds the number of classes, the result is 100.

    Raises:
        ArgumentError: ``topk`` is empty or contains anything but positive integers.
    """

    default_prefix = ''

    def __init__(self, topk: int | Sequence[int] = (1, 5), **options: object) -> None:
        super().__init__(**options)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or any(not isinstance(k, int) or k < 1 for k in self.topk):
            raise ArgumentError(f'topk: expected integers of 1 or more, got {topk!r}')

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        # One result per image, so that images a sampler added to fill the last batch are cut off.
        self.results += [
            _rank(sample['pred_score'], int(sample['gt_label'])) for sample in data_samples
        ]

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {
            f'top{k}': 100 * sum(0 <= rank < k for rank in results) / len(results)
            for k in self.topk
        }


def _rank(scores: torch.Tensor, label: int) -> int:
    """Return the number of classes ranked before the label."""
    if scores.isnan().any():
        return _NEVER
    own = scores[label]
    return int((scores > own).sum() + (scores[:label] == own).sum())
