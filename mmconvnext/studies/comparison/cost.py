"""Count and measure the models' costs on this machine."""

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
    scope: str  # scope of the registry that builds it
    size: tuple[int, int]  # height and width of the images, in pixels
    batch: int  # number of images
    training: bool  # True: a step with gradients; False: a prediction
    device: str


@dataclass(frozen=True)
class Speed:
    """Measurements of one model; images per second are the batch over a step's seconds."""

    seconds: Spread  # of a step
    pictures_per_second: Spread
    peak_bytes: int | None  # without the model and its input; None if not measured


def task_of(config: Config, size: tuple[int, int], batch: int, training: bool, device: str) -> Task:
    """Return the task to measure for a config; a segmentor gets the whole image."""
    model = config.model.to_dict()
    if 'decode_head' in model:
        model['test_cfg'] = dict(mode='whole')
        model['data_preprocessor']['size'] = size
    return Task(model, config.default_scope, size, batch, training, device)


def prepare(task: Task) -> Step:
    """Build the model and its input; weights are random."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(task.scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mmseg's warnings about its own functions
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
    """Return :func:`packed_images` as the model's input on ``device``, N×3×H×W float32 first."""
    data = packed_images(model, size, batch)
    # Without training no label map is padded: images of one size need no padding.
    ready = model.data_preprocessor(data, training=model.training)
    samples = [sample.to(device) for sample in ready['data_samples']]
    return ready['inputs'].to(device), samples


def _detect_everywhere(classify: nn.Linear) -> None:
    """Classify every proposal as an object, so that the mask head's time is not random."""
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
    """Time models on one device in interleaved rounds, and measure their peak memory.

    ``warm_up`` rounds come first and are not counted. Without ``memory`` the peak is not measured
    on a CPU. ``report`` is called :func:`work` times. Raises UserError if a model cannot be run.
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
    except RuntimeError as error:  # for example out of memory
        raise UserError(
            f'{name}: cannot be run at this size ({first_line(error)}); choose a smaller '
            '--image-size or --batch, or leave it out'
        ) from error


def work(models: Collection[str], *, rounds: int, warm_up: int = 1, memory: object = None) -> int:
    """Return the number of reports that :func:`measure` makes."""
    return len(models) * (bool(memory) + 1 + rounds + warm_up)
