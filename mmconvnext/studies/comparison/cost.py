"""What the models cost: counted, and measured on this machine."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmconvnext.analysis.benchmark.batch import packed_images
from mmconvnext.analysis.benchmark.memory import MemoryMeter, allocated_peak
from mmconvnext.analysis.benchmark.step import ModelStep, Step, loss
from mmconvnext.analysis.benchmark.timing import Report, Spread, repeats_of, time_rounds
from mmconvnext.errors import UserError, first_line


class Task(NamedTuple):
    """One step of one model; picklable."""

    model: dict[str, Any]  # its config
    scope: str  # whose registry builds it
    size: tuple[int, int]  # height and width of the images, in pixels
    batch: int  # number of images
    training: bool  # a step with gradients, or prediction
    device: str


@dataclass(frozen=True)
class Speed:
    """Measured of one model; images a second are the batch over a step's seconds."""

    seconds: Spread  # a step's
    pictures_per_second: Spread
    peak_bytes: int | None  # beyond the model and its input; None where not taken


def task_of(config: Config, size: tuple[int, int], batch: int, training: bool, device: str) -> Task:
    """What is measured of a config: a segmentor sees its image as a whole."""
    model = config.model.to_dict()
    if 'decode_head' in model:
        model['test_cfg'] = dict(mode='whole')
        model['data_preprocessor']['size'] = size
    return Task(model, config.default_scope, size, batch, training, device)


def prepare(task: Task) -> Step:
    """Build the model and its input; weights are random."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(task.scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mmseg's, of its own functions
        model = revert_sync_batchnorm(MODELS.build(ConfigDict(task.model)))
        model.train(task.training)
        if hasattr(model, 'roi_head'):
            _detect_everywhere(model.roi_head.bbox_head.fc_cls)
        model.to(task.device)
        images, samples = generated_batch(model, task.size, task.batch, task.device)
    run = partial(loss if task.training else _predict, model, images, samples)
    return ModelStep(model, run, {})


def generated_batch(
    model: Any, size: tuple[int, int], batch: int, device: str
) -> tuple[Tensor, list]:
    """:func:`packed_images` as the model on ``device`` gets them, N×3×H×W float32 first."""
    data = packed_images(model, size, batch)
    # Without training no label map is padded: images of one size need not be.
    ready = model.data_preprocessor(data, training=model.training)
    samples = [sample.to(device) for sample in ready['data_samples']]
    return ready['inputs'].to(device), samples


def _detect_everywhere(classify: nn.Linear) -> None:
    """Let every proposal be an object, so that the mask head's time does not depend on chance."""
    with torch.no_grad():
        classify.weight.zero_()
        classify.bias.zero_()[0] = 5.0


def _predict(model: nn.Module, images: Tensor, samples: list[Any]) -> Mapping[str, Tensor]:
    model(images, samples, mode='predict')
    return {}


def measure(
    tasks: Mapping[str, Task],
    *,
    rounds: int,
    warm_up: int = 1,
    memory: MemoryMeter | None = None,
    report: Report = lambda _: None,
) -> dict[str, Speed]:
    """Time models of one device in interleaved rounds, and take their peak memory.

    ``warm_up`` rounds come first and are not counted. Without ``memory`` the peak is left out on a
    CPU. ``report`` is called as often as :func:`work` says. Raises UserError where a model cannot
    be run.
    """
    peaks: dict[str, int | None] = {}
    steps: dict[str, Step] = {}
    repeats = 1
    if memory:
        for name, task in tasks.items():
            report(f'memory of {name}')
            with _told_in_one_line(name):
                peaks[name] = memory.peak(partial(prepare, task))
    for name, task in tasks.items():
        report(f'first step of {name}')
        with _told_in_one_line(name):
            steps[name] = prepare(task)
            repeats = max(repeats, repeats_of(steps[name], task.device))
    device = next(iter(tasks.values())).device
    if device != 'cpu':
        peaks = {name: allocated_peak(step, device) for name, step in steps.items()}
    options: dict[str, Any] = dict(rounds=rounds, warm_up=warm_up, device=device, repeats=repeats)
    return {
        name: Speed(
            Spread.of(seconds),
            Spread.of([tasks[name].batch / one for one in seconds]),
            peaks.get(name),
        )
        for name, seconds in time_rounds(steps, **options, report=report).items()
    }


@contextmanager
def _told_in_one_line(name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # out of memory among others
        raise UserError(
            f'{name}: cannot be run at this size ({first_line(error)}); choose a smaller '
            '--image-size or --batch, or leave it out'
        ) from error


def work(models: Collection[str], *, rounds: int, warm_up: int = 1, memory: object = None) -> int:
    """Reports that :func:`measure` makes."""
    return len(models) * (bool(memory) + 1 + rounds + warm_up)
