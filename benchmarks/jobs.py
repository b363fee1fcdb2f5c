"""The cases that tools/benchmark.py measures, from its arguments."""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import operators, rivals
from benchmarks.case import Case, Variant, measure_case, work
from benchmarks.task import Task, backbone_config, count_macs, model_config, plain_model, prepare
from mmconvnext.analysis.benchmark.memory import MemoryMeter
from mmconvnext.analysis.benchmark.options import watch
from mmconvnext.backbones import ARCHITECTURES
from mmconvnext.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    'head': 'upernet_convnext_t_ade20k.py',
    'segmentor': 'upernet_convnext_t_ade20k.py',
    'detector': 'mask_rcnn_convnext_t_coco.py',
}
# In full and with --quick.
SIZES = {
    'backbone': (['224', '512'], ['224']),
    'head': (['512'], ['128']),
    'segmentor': (['512'], ['128']),
    'detector': (['800x1344'], ['320']),
}
ROUNDS = (9, 3)
WARM_UP = (1, 0)  # the comparison of the results is a step too
# The rivals have one epsilon built in.
ARCHS = [name for name, architecture in ARCHITECTURES.items() if architecture.eps == 1e-6]


class Job(NamedTuple):
    """A case that is still to be measured, and who is left out of it, and why."""

    kind: str
    title: str
    variants: list[Variant]
    left_out: dict[str, str]
    options: dict[str, Any]  # more of measure_case's

    def measure(
        self, number: str, arguments: argparse.Namespace, memory: MemoryMeter | None
    ) -> Case:
        counts: dict[str, Any] = dict(
            rounds=arguments.rounds or ROUNDS[arguments.quick],
            warm_up=WARM_UP[arguments.quick],
            # Of a training step where it has to be quick: there it decides what fits.
            memory=None if arguments.quick and 'inference' in self.title else memory,
        )
        with watch(f'{number} {self.title}', work(len(self.variants), **counts)) as report:
            options = counts | self.options | dict(device=arguments.device, report=report)
            return measure_case(self.title, self.variants, **options)


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    for kind in arguments.kinds:
        if kind == 'ops':
            cases, missing = operators.variants(arguments.device, arguments.rivals)
            left_out = {f'{name} (ops)': why for name, why in missing.items()}
            yield from (Job(kind, title, given, left_out, {}) for title, given in cases.items())
        else:
            yield from (_job(*named, arguments) for named in _tasks(kind, arguments))


def _tasks(kind: str, arguments: argparse.Namespace) -> Iterator[tuple[str, Task]]:
    """The tasks of a kind, by title."""
    configs = {}
    if kind == 'backbone':
        for version in arguments.versions:
            config = backbone_config(arguments.arch, version == 'v2', drop_path_rate=0.4)
            configs[f'ConvNeXt-{arguments.arch} {version.upper()}'] = config
    else:
        path = Path(arguments.config or ROOT / 'configs' / CONFIGS[kind])
        configs[f'{kind.capitalize()} of {path.stem}'] = model_config(kind, path)
    sizes = map(_size, arguments.sizes or SIZES[kind][arguments.quick])
    modes = [False] * (not arguments.train) + [True] * (not arguments.infer)
    for (name, config), size, training in product(configs.items(), sizes, modes):
        batch = arguments.batch or (2 if training else 1)
        if training and batch < 2 and kind in ('head', 'segmentor'):
            raise UserError(
                f'--batch: expected 2 or more to train a {kind}, whose batch norms see '
                f'one pixel an image, got {batch}'
            )
        given = (size, batch, training, arguments.device, arguments.amp, arguments.tf32)
        task = Task(kind, config, *given)
        yield f'{name}, {task.title}', task


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch('([0-9]+)(?:x([0-9]+))?', text.lower())
    if not found:
        raise UserError(f'--sizes: expected SIDE or HxW, such as 512 or 800x1344, got {text}')
    size = int(found[1]), int(found[2] or found[1])
    if min(size) < 32:
        raise UserError(f'--sizes: expected at least 32 pixels, got {text}')
    return size


def _job(title: str, task: Task, arguments: argparse.Namespace) -> Job:
    """Ours first, then ours without rewrites, then the rivals."""
    plain = plain_model(task)
    ours: dict[str, dict[str, Any]] = {'ours': {}}
    if any(hasattr(module, 'fast') for module in plain.modules()):
        ours['ours, fast=False'] = {'fast': False}
    if arguments.compile:
        ours['ours, compiled'] = {'compiled': True}
        if task.kind != 'head':
            ours['ours, blocks compiled'] = {'options': {'compile_blocks': True}}
    variants = [Variant(name, partial(prepare, task, **options)) for name, options in ours.items()]
    theirs, missing = rivals.variants(task, arguments.rivals, arguments.compile)
    place = f'{task.kind} V2' if task.use_grn else task.kind
    left_out = {f'{name} ({place})': why for name, why in missing.items()}
    options = dict(macs=count_macs(task, plain), tolerances=task.tolerances, amp=task.dtype)
    return Job(task.kind, title, variants + theirs, left_out, options)
