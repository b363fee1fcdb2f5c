"""Count the costs of each roadmap step's classifier, and time it on this machine."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.analysis.benchmark.step import ModelStep, Step
from mmconvnext.analysis.benchmark.timing import Report, Spread, repeats_of, time_rounds
from mmconvnext.analysis.cost.complexity import Complexity, count

# As in the paper: ImageNet-1K's image size and number of classes.
SIZE, CLASSES = 224, 1000


class Bench(NamedTuple):
    """How steps are timed."""

    size: int  # side of the images, in pixels
    batches: tuple[int, int]  # images of an inference step, and of a training step
    rounds: int  # counted rounds, after one warm-up round
    device: str

    def in_words(self) -> str:
        inference, training = (f'{batch} × {self.size}²' for batch in self.batches)
        return (
            f'{inference} in inference, {training} in a training step (forward and backward), '
            f'float32, {self.rounds} interleaved rounds, medians and quartiles'
        )


class Timing(NamedTuple):
    """Seconds of a step's classifier, median and quartiles; training: forward and backward."""

    inference: Spread
    training: Spread


def classifier(step: str, regime: str) -> dict:
    """Return the config of a step's ImageNet-1K classifier."""
    backbone = dict(type='mmconvnext.RoadmapNet', step=step, regime=regime, out_indices=(3,))
    return dict(type='mmconvnext.ImageClassifier', backbone=backbone, num_classes=CLASSES)


def count_step(step: str, regime: str) -> Complexity:
    """Count multiply-accumulates and parameters of a step's classifier at 224², like the paper."""
    return count(Config(dict(model=classifier(step, regime))), SIZE, SIZE)


def time_steps(
    names: Sequence[str], regime: str, bench: Bench, report: Report = lambda _: None
) -> dict[str, Timing]:
    """Time the classifiers of some steps, all in memory at once, in interleaved rounds.

    ``report`` is called ``2 · len(names) · (rounds + 1)`` times.
    """

    def measure(batch: int, training: bool) -> dict[str, Spread]:
        # In a function, so that models for inference are freed before those for training.
        steps = {name: _prepare(name, regime, bench, batch, training) for name in names}
        repeats = repeats_of(steps[names[0]], bench.device)
        seconds = time_rounds(
            steps, rounds=bench.rounds, device=bench.device, repeats=repeats, report=report
        )
        return {name: Spread.of(taken) for name, taken in seconds.items()}

    inference, training = measure(bench.batches[0], False), measure(bench.batches[1], True)
    return {name: Timing(inference[name], training[name]) for name in names}


def _prepare(name: str, regime: str, bench: Bench, batch: int, training: bool) -> Step:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = MODELS.build(ConfigDict(classifier(name, regime)))
    model.train(training).to(bench.device)
    images = torch.randn(batch, 3, bench.size, bench.size).to(bench.device)
    return ModelStep(model, lambda: {'logits': model(images)})
