"""Build the cases that tools/benchmark.py measures, from its arguments."""

import re
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import operators, rivals
from benchmarks.case import Case, Variant, measure_case, work
from benchmarks.task import Task, backbone_config, count_macs, model_config, plain_model, prepare
from mmconvnext.analysis.benchmark.memory import MemoryMeter
from mmconvnext.backbones import ARCHITECTURES
from mmconvnext.command_line.measuring import watch
from mmconvnext.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
# For each kind: the config file, and the sizes without and with --quick.
DEFAULTS = {
    'backbone': ('', ['224', '512'], ['224']),
    'head': ('upernet_convnext_t_ade20k.py', ['512'], ['128']),
    'segmentor': ('upernet_convnext_t_ade20k.py', ['512'], ['128']),
    'detector': ('mask_rcnn_convnext_t_coco.py', ['800x1344'], ['320']),
}
# Without and with --quick.
ROUNDS = (9, 3)
WARM_UP = (1, 0)  # comparing the results also runs a step
ARCHS = [name for name, architecture in ARCHITECTURES.items() if architecture.eps == 1e-6]


class Job(NamedTuple):
    """A case to measure, and the rivals that are skipped, with reasons."""

    kind: str
    title: str
    variants: list[Variant]
    left_out: dict[str, str]
    options: dict[str, Any]  # further options of measure_case

    def measure(self, number: str, given: Namespace, memory: MemoryMeter | None) -> Case:
        counts: dict[str, Any] = dict(
            rounds=given.rounds or ROUNDS[given.quick],
            warm_up=WARM_UP[given.quick],
            # With --quick only for training steps, where memory decides which batch fits.
            memory=None if given.quick and 'inference' in self.title else memory,
        )
        with watch(f'{number} {self.title}', work(len(self.variants), **counts)) as report:
            options = counts | self.options | dict(device=given.device, report=report)
            return measure_case(self.title, self.variants, **options)


def jobs(given: Namespace) -> Iterator[Job]:
    for kind in given.kinds:
        if kind == 'ops':
            cases, missing = operators.variants(given.device, given.rivals)
            left_out = {f'{name} (ops)': why for name, why in missing.items()}
            yield from (Job(kind, title, found, left_out, {}) for title, found in cases.items())
            continue
        sizes = [parse_size(size) for size in given.sizes or DEFAULTS[kind][1 + given.quick]]
        modes = [False] * (not given.train) + [True] * (not given.infer)
        for (name, config), size, training in product(_configs(kind, given), sizes, modes):
            batch = given.batch or (2 if training else 1)
            if training and batch < 2 and kind in ('head', 'segmentor'):
                why = f'to train a {kind}, whose batch norms see one pixel an image'
                raise UserError(f'--batch: expected 2 or more {why}, got {batch}')
            task = Task(kind, config, size, batch, training, given.device, given.amp, given.tf32)
            yield _job(f'{name}, {task.title}', task, given)


def _configs(kind: str, given: Namespace) -> list[tuple[str, dict]]:
    """Return the configs of a kind's models, with names."""
    if kind != 'backbone':
        path = Path(given.config or ROOT / 'configs' / DEFAULTS[kind][0])
        return [(f'{kind.capitalize()} of {path.stem}', model_config(kind, path))]
    return [
        (f'ConvNeXt-{given.arch} {one.upper()}', backbone_config(given.arch, one == 'v2', 0.4))
        for one in given.versions
    ]


def parse_size(text: str) -> tuple[int, int]:
    found = re.fullmatch('([0-9]+)(?:x([0-9]+))?', text.lower())
    size = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if min(size) < 32:
        raise UserError(f'--sizes: expected SIDE or HxW of at least 32 pixels, got {text}')
    return size


def _job(title: str, task: Task, given: Namespace) -> Job:
    """Return the job: ours first, then ours with fast=False or compiled, then the rivals."""
    plain = plain_model(task)
    ours: dict[str, dict[str, Any]] = {'ours': {}}
    if any(hasattr(module, 'fast') for module in plain.modules()):
        ours['ours, fast=False'] = {'fast': False}
    if given.compile:
        ours['ours, compiled'] = {'compiled': True}
        if task.kind != 'head':
            ours['ours, blocks compiled'] = {'options': {'compile_blocks': True}}
    variants = [Variant(name, partial(prepare, task, **options)) for name, options in ours.items()]
    theirs, missing = rivals.variants(task, given.rivals, given.compile)
    place = f'{task.kind} V2' if task.config.get('use_grn') else task.kind
    left_out = {f'{name} ({place})': why for name, why in missing.items()}
    options = dict(macs=count_macs(task, plain), tolerances=task.tolerances, amp=task.dtype)
    return Job(task.kind, title, variants + theirs, left_out, options)
