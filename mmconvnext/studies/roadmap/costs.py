"""What the classifier of each step of the roadmap costs: counted, and timed on this machine."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmconvnext.analysis.benchmark.step import ModelStep, Step
from mmconvnext.analysis.benchmark.timing import Report, Spread, repeats_of, time_rounds
from mmconvnext.analysis.cost.complexity import (
    Complexity,
    build_on_meta,
    count_macs,
    count_parameters,
)

# What the paper counts: ImageNet-1K's pictures and classes.
SIZE, CLASSES = 224, 1000


class Timing(NamedTuple):
    """Seconds of a step's classifier, median and quartiles; training: forward and backward."""

    inference: Spread
    training: Spread


def classifier(step: str, regime: str) -> dict:
    """Config of the ImageNet-1K classifier of a step."""
    backbone = dict(type='mmconvnext.RoadmapNet', step=step, regime=regime, out_indices=(3,))
    return dict(type='mmconvnext.ImageClassifier', backbone=backbone, num_classes=CLASSES)


def count_step(step: str, regime: str) -> Complexity:
    """Multiply-accumulates and parameters of a step's classifier at 224², as the paper counts."""
    model = build_on_meta(Config(dict(model=classifier(step, regime))))
    image = torch.empty(1, 3, SIZE, SIZE, device='meta')
    return Complexity(count_macs(model, image), count_parameters(model))


def time_steps(
    names: Sequence[str],
    regime: str,
    *,
    size: int,
    batches: tuple[int, int],
    rounds: int,
    device: str,
    report: Report = lambda _: None,
) -> dict[str, Timing]:
    """Time the classifiers of some steps in interleaved rounds, with random weights.

    All of them are in memory at the same time.

    Args:
        names: Of the steps.
        regime: One of the two.
        size: Side of the pictures, in pixels.
        batches: Pictures of one inference, and of one training step.
        rounds: That are counted; one more goes before them.
        device: On which they run.
        report: Called ``2 · len(names) · (rounds + 1)`` times.
    """

    def measure(batch: int, training: bool) -> dict[str, Spread]:
        # In a function: the models of inference are gone before those of training are made.
        steps = {name: _prepare(name, regime, size, batch, training, device) for name in names}
        repeats = repeats_of(next(iter(steps.values())), device)
        options = dict(rounds=rounds, device=device, repeats=repeats, report=report)
        return {n: Spread.of(s) for n, s in time_rounds(steps, **options).items()}

    inference, training = (measure(*one) for one in zip(batches, (False, True)))
    return {name: Timing(inference[name], training[name]) for name in names}


def _prepare(name: str, regime: str, size: int, batch: int, training: bool, device: str) -> Step:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = MODELS.build(ConfigDict(classifier(name, regime)))
    model.train(training).to(device)
    return ModelStep(model, partial(_logits, model, torch.randn(batch, 3, size, size).to(device)))


def _logits(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return {'logits': model(images)}
