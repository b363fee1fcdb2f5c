"""Time and memory against other implementations, their results asserted equal first.

Example:
    python tools/benchmark.py backbone --arch tiny --versions v1 v2 --sizes 224 512
    python tools/benchmark.py head segmentor --train --rivals mmseg --json segmentor.json
    python tools/benchmark.py backbone --device cuda --amp bf16 --batch 16 --sizes 512 --compile

Each is measured as shipped and tuned (channels_last); what is not installed is skipped with a
message. Writes a bar chart for each kind. With benchmarks/rivals.py missing, as after an
installation through mim, ours is compared with ours alone, without its rewrites (fast=False).
"""

import argparse
import dataclasses
import importlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

warnings.filterwarnings('ignore', module='mmseg')  # of its own functions, for each variant
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Before mmconvnext: it sees to torchvision. Tested for, so that what it lacks itself is told.
_HAS_RIVALS = (ROOT / 'benchmarks' / 'rivals.py').is_file()
rivals = importlib.import_module('benchmarks.rivals') if _HAS_RIVALS else None
operators = importlib.import_module('benchmarks.operators') if _HAS_RIVALS else None

from mmconvnext.analysis.benchmark.case import Case, Variant, measure_case, work  # noqa: E402
from mmconvnext.analysis.benchmark.figure import draw, table  # noqa: E402
from mmconvnext.analysis.benchmark.machine import machine  # noqa: E402
from mmconvnext.analysis.benchmark.memory import MemoryMeter  # noqa: E402
from mmconvnext.analysis.benchmark.options import (  # noqa: E402
    make_folders,
    require_at_least,
    require_device,
    watch,
)
from mmconvnext.analysis.benchmark.task import (  # noqa: E402
    DTYPES,
    SCOPES,
    Task,
    backbone_config,
    count_macs,
    model_config,
    plain_model,
    prepare,
)
from mmconvnext.backbones import ARCHITECTURES  # noqa: E402
from mmconvnext.errors import UserError, one_line_errors  # noqa: E402

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
# The rivals have one epsilon built in.
ARCHS = [name for name, architecture in ARCHITECTURES.items() if architecture.eps == 1e-6]
ROUNDS = (9, 3)
NOT_HERE = 'benchmarks/rivals.py is not here'
WARM_UP = (1, 0)  # the comparison of the results is a step too


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('kinds', nargs='+', choices=(*SCOPES, 'ops'), help='what to measure')
    add('--arch', default='tiny', choices=ARCHS, metavar='ARCH',
        help=f'backbone: {", ".join(ARCHS)} (default tiny)')  # fmt: skip
    add('--versions', nargs='+', default=['v1'], choices=('v1', 'v2'),
        help='backbone: ConvNeXt V1, V2 or both')  # fmt: skip
    add('--config', help='head, segmentor, detector: config file of the model')
    add('--sizes', nargs='+', metavar='SIDE|HxW', help='inputs in pixels; each kind has its own')
    add('--batch', type=int, help='default: 2 in training, 1 in inference')
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument('--train', action='store_true', help='training steps alone')
    modes.add_argument('--infer', action='store_true', help='inference alone')
    add('--rivals', help='names with commas between, or none; default: all there')
    add('--compile', action='store_true',
        help='torch.compile as well, of whole models and of our blocks alone; minutes')  # fmt: skip
    add('--amp', choices=DTYPES, help='mixed precision; default: float32')
    add('--tf32', action='store_true', help='let CUDA round float32 products')
    add('--device', default='cpu', help='cpu (default) or cuda')
    add('--rounds', type=int, help=f'default: {ROUNDS[0]}, quick {ROUNDS[1]}')
    add('--quick', action='store_true', help='fewer rounds, smaller inputs')
    add('--no-memory', action='store_true', help='leave the peak memory out')
    add('--json', type=Path, metavar='FILE', help='write the numbers')
    add('--out', type=Path, default=Path('work_dirs/benchmark'), help='folder of the bar charts')
    return parser.parse_args()


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be measured; the rivals asked for become a list, or None for all."""
    require_device(arguments.device)
    make_folders(arguments.out, arguments.json)
    require_at_least(1, {'rounds': arguments.rounds, 'batch': arguments.batch})
    if arguments.rivals is None or rivals is None:
        return
    arguments.rivals = [] if arguments.rivals == 'none' else arguments.rivals.split(',')
    unknown = [name for name in arguments.rivals if name not in rivals.RIVALS]
    if unknown:
        raise UserError(
            f'--rivals: expected none or some of {", ".join(rivals.RIVALS)}, got '
            f'{", ".join(unknown)}'
        )


def parse_size(text: str) -> tuple[int, int]:
    found = re.fullmatch('([0-9]+)(?:x([0-9]+))?', text.lower())
    if not found:
        raise UserError(f'--sizes: expected SIDE or HxW, such as 512 or 800x1344, got {text}')
    size = int(found[1]), int(found[2] or found[1])
    if min(size) < 32:
        raise UserError(f'--sizes: expected at least 32 pixels, got {text}')
    return size


def tasks(kind: str, arguments: argparse.Namespace) -> Iterator[tuple[str, Task]]:
    """The tasks of a kind, by title."""
    configs = {}
    if kind == 'backbone':
        for version in arguments.versions:
            config = backbone_config(arguments.arch, version == 'v2', drop_path_rate=0.4)
            configs[f'ConvNeXt-{arguments.arch} {version.upper()}'] = config
    else:
        path = Path(arguments.config or ROOT / 'configs' / CONFIGS[kind])
        configs[f'{kind.capitalize()} of {path.stem}'] = model_config(kind, path)
    sizes = map(parse_size, arguments.sizes or SIZES[kind][arguments.quick])
    modes = [False] * (not arguments.train) + [True] * (not arguments.infer)
    for (name, config), size, training in product(configs.items(), sizes, modes):
        batch = arguments.batch or (2 if training else 1)
        if training and batch < 2 and kind in ('head', 'segmentor'):
            raise UserError(
                f'--batch: expected 2 or more to train a {kind}, whose batch norms see '
                f'one pixel a picture, got {batch}'
            )
        given = (size, batch, training, arguments.device, arguments.amp, arguments.tf32)
        task = Task(kind, config, *given)
        yield f'{name}, {task.title}', task


class Job(NamedTuple):
    """A case that is still to be measured, and who is left out of it, and why."""

    kind: str
    title: str
    variants: list[Variant]
    left_out: dict[str, str]
    options: dict[str, Any]  # more of measure_case's


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    for kind in arguments.kinds:
        if kind != 'ops':
            yield from (model_job(title, task, arguments) for title, task in tasks(kind, arguments))
        elif operators:
            cases, missing = operators.variants(arguments.device, arguments.rivals)
            left_out = {f'{name} (ops)': why for name, why in missing.items()}
            yield from (Job(kind, title, given, left_out, {}) for title, given in cases.items())


def model_job(title: str, task: Task, arguments: argparse.Namespace) -> Job:
    """Ours first, then ours without rewrites, then the rivals."""
    plain = plain_model(task)
    ours: dict[str, dict[str, Any]] = {'ours': {}}
    if any(hasattr(module, 'fast') for module in plain.modules()):
        ours['ours, fast=False'] = {'fast': False}
    if arguments.compile:
        ours['ours, compiled'] = {'compiled': True}
        if task.kind != 'head':
            ours['ours, blocks compiled'] = {'options': {'compile_blocks': True}}
    given = [Variant(name, partial(prepare, task, **options)) for name, options in ours.items()]
    missing = {'all rivals': NOT_HERE}
    if rivals:
        theirs, missing = rivals.variants(task, arguments.rivals, arguments.compile)
        given += theirs
    place = f'{task.kind} V2' if task.use_grn else task.kind
    left_out = {f'{name} ({place})': why for name, why in missing.items()}
    macs = count_macs(task, plain)
    options = dict(macs=macs, tolerances=task.tolerances, amp=task.dtype)
    return Job(task.kind, title, given, left_out, options)


def measure(
    job: Job, number: str, arguments: argparse.Namespace, memory: MemoryMeter | None
) -> Case:
    counts: dict[str, Any] = dict(
        rounds=arguments.rounds or ROUNDS[arguments.quick],
        warm_up=WARM_UP[arguments.quick],
        # Of a training step where it has to be quick: there it decides what fits.
        memory=None if arguments.quick and 'inference' in job.title else memory,
    )
    with watch(f'{number} {job.title}', work(len(job.variants), **counts)) as report:
        options = counts | job.options | dict(device=arguments.device, report=report)
        return measure_case(job.title, job.variants, **options)


def open_meter(arguments: argparse.Namespace) -> MemoryMeter | None:
    if arguments.no_memory or arguments.device != 'cpu':
        return None
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)  # of the process that imports
    return MemoryMeter(['benchmarks.rivals', *rivals.imported()] if rivals else ())


def main() -> None:
    arguments = parse_arguments()
    check_arguments(arguments)
    todo = list(jobs(arguments))
    left_out = {name: why for job in todo for name, why in job.left_out.items()}
    if 'ops' in arguments.kinds and not operators:
        left_out['all (ops)'] = NOT_HERE
    # float32 of all, as the ceiling's, if nothing else is asked for.
    torch.backends.cudnn.allow_tf32 = arguments.tf32
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    here = machine(arguments.device)._asdict()
    del here['load']
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(', '.join(f'{key} {value}' for key, value in here.items()), highlight=False)
    for name, reason in left_out.items():
        console.print(f'left out: {name}: {reason}', highlight=False)
    cases: dict[str, list[Case]] = {}
    memory = open_meter(arguments)
    for number, job in enumerate(todo, 1):
        case = measure(job, f'{number}/{len(todo)}', arguments, memory)
        cases.setdefault(job.kind, []).append(case)
        console.print(table(case))
    if arguments.json:
        content = {'machine': here, 'left_out': left_out}
        content['cases'] = {k: [dataclasses.asdict(c) for c in v] for k, v in cases.items()}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n')
        print(f'written: {arguments.json}')
    for kind, measured in cases.items():
        path = arguments.out / f'{kind}.png'
        draw(measured, path)
        print(f'written: {path}')


if __name__ == '__main__':
    with one_line_errors():
        main()
