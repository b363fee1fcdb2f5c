"""Run a comparison: count and measure every backbone in one model."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmconvnext.analysis.benchmark.machine import Machine
from mmconvnext.analysis.benchmark.memory import MemoryMeter
from mmconvnext.analysis.benchmark.timing import Report
from mmconvnext.analysis.cost.complexity import Complexity, count
from mmconvnext.studies.comparison import cost
from mmconvnext.studies.comparison.families import MODELS, Backbone, chosen, with_backbone
from mmconvnext.studies.comparison.published import PublishedResult, imagenet, result

# Without and with `quick`.
ROUNDS, WARM_UP = (5, 3), (1, 0)
QUICK_SIZES = {'upernet': (128, 128), 'mask_rcnn': (256, 320)}
# Opens a progress bar with a title and a number of steps.
Watch = Callable[[str, int], AbstractContextManager[Report]]


@dataclass(frozen=True)
class Row:
    """A backbone in a model."""

    model: str
    backbone: Backbone
    published: PublishedResult | None
    counted: Complexity
    # By mode, ``inference`` or ``training``, if measured.
    measured: dict[str, cost.Speed] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, separated into published, counted and measured."""
        height, width = MODELS[self.model].counted
        return {
            'model': self.model,
            'backbone': self.backbone.label,
            'family': self.backbone.family,
            'size': self.backbone.size,
            'published': self.published and self.published.as_json(),
            'counted': {**self.counted._asdict(), 'height': height, 'width': width},
            'measured': {mode: dataclasses.asdict(one) for mode, one in self.measured.items()},
        }


def counted_row(model: str, config: Config, backbone: Backbone) -> Row:
    """Return a backbone's row without measurements; raise UserError if it cannot be built.

    ``config`` has the head of ``model``, a key of ``MODELS``.
    """
    counted = count(with_backbone(config, backbone), *MODELS[model].counted)
    return Row(model, backbone, result(model, backbone.family, backbone.size), counted)


# Called with the rows of a model after each measurement.
Keep = Callable[[Sequence[Row]], None]


@dataclass(frozen=True)
class Settings:
    """The backbones to compare, and how to measure them."""

    families: Sequence[str]
    sizes: Sequence[str]  # letters; only backbones of one size are measured in turns
    modes: Sequence[str] = ()  # ``inference`` and ``training``, or empty: only count
    image_size: tuple[int, int] | None = None  # height and width; None: each model's own
    batch: int | None = None  # images; None: 1 in inference and 2 in training
    rounds: int | None = None
    quick: bool = False  # fewer rounds, smaller images
    device: str = 'cpu'

    def size_of(self, model: str) -> tuple[int, int]:
        """Return height and width of the measured images, in pixels."""
        default = QUICK_SIZES[model] if self.quick else MODELS[model].measured
        return self.image_size or default

    def batch_of(self, mode: str) -> int:
        return self.batch or (2 if mode == 'training' else 1)

    def in_words(self, model: str) -> dict[str, str]:
        """Return the measured batch of a model by mode, such as ``2 × 512²``."""
        height, width = self.size_of(model)
        size = f'{height}²' if height == width else f'{height} × {width}'
        return {mode: f'{self.batch_of(mode)} × {size}' for mode in self.modes}


def compare(
    model: str,
    config: Config,
    settings: Settings,
    memory: MemoryMeter | None,
    watch: Watch,
    keep: Keep = lambda _: None,
) -> list[Row]:
    """Return the rows of one of ``MODELS``: all are counted first, then measured size by size.

    ``config`` has the model's head; without ``memory`` no peak memory is measured. ``keep`` is
    called after each size, because the next size may take an hour and fail. Raises UserError if a
    model cannot be built or run.
    """
    backbones = chosen(model, settings.families, settings.sizes)
    rows = [counted_row(model, config, one) for one in backbones]
    for mode in settings.modes:
        for size in settings.sizes:
            of_size = [row for row in rows if row.backbone.size == size]
            if of_size:
                _measure(of_size, config, mode, settings, memory, watch)
                keep(rows)
    return rows


def _measure(
    rows: Sequence[Row],
    config: Config,
    mode: str,
    settings: Settings,
    memory: MemoryMeter | None,
    watch: Watch,
) -> None:
    """Measure the rows of one model and size in turns, and store their speed."""
    model = rows[0].model
    tasks = {
        row.backbone.label: cost.task_of(
            with_backbone(config, row.backbone),
            settings.size_of(model),
            settings.batch_of(mode),
            training=mode == 'training',
            device=settings.device,
        )
        for row in rows
    }
    rounds = settings.rounds or ROUNDS[settings.quick]
    options: dict[str, Any] = dict(rounds=rounds, warm_up=WARM_UP[settings.quick], memory=memory)
    with watch(f'{MODELS[model].title}, {mode}', cost.work(tasks, **options)) as report:
        speeds = cost.measure(tasks, report=report, **options)
    for row in rows:
        row.measured[mode] = speeds[row.backbone.label]


def as_json(rows: Sequence[Row], settings: Settings, here: Machine) -> dict[str, Any]:
    """Return plain values of rows of any models, and of the measuring machine."""
    labels = {row.backbone.label for row in rows}
    return {
        'machine': here._asdict(),
        'measured_pictures': {row.model: settings.in_words(row.model) for row in rows},
        'imagenet': {name: one.as_json() for name, one in imagenet().items() if name in labels},
        'rows': [row.as_json() for row in rows],
    }
