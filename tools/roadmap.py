"""Show costs and accuracy of each step from ResNet to ConvNeXt.

Prints a table and draws the paper's figure 2, with multiply-accumulates and parameters counted here
next to the published figures, and with --results the accuracy of your own runs. --bench adds the
time of inference and of a training step on this machine, with all steps in memory.

Example:
    python tools/roadmap.py
    python tools/roadmap.py --results work_dirs/roadmap_resnet50_in1k --out figures
    python tools/roadmap.py --regime both --bench --json roadmap.json
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.benchmark.machine import machine
from mmconvnext.command_line.measuring import (
    make_folders,
    require_at_least,
    require_device,
    watch,
)
from mmconvnext.errors import UserError, one_line_errors
from mmconvnext.files import write_json
from mmconvnext.studies.roadmap.costs import SIZE, Bench, count_step, time_steps
from mmconvnext.studies.roadmap.figure import draw_roadmap
from mmconvnext.studies.roadmap.runs import OwnResults, own_results, read_own_runs
from mmconvnext.studies.roadmap.steps import REGIMES, ROADMAP, Step
from mmconvnext.studies.roadmap.table import Way, make_way

# Without and with --quick.
ROUNDS, SIZES = (9, 3), (SIZE, 64)
BATCHES = (1, 2)  # of inference and training


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--regime', choices=(*REGIMES, 'both'), default=REGIMES[0], help='default: resnet50'
    )
    names = [step.name for step in ROADMAP]
    parser.add_argument(
        '--steps', nargs='+', metavar='STEP', help=f'some of {", ".join(names)}; default: all'
    )
    parser.add_argument(
        '--results',
        nargs='+',
        default=[],
        metavar='FILE|DIR',
        help='work dirs of your own runs, folders of them, or single logs; configs are not run',
    )
    parser.add_argument('--bench', action='store_true', help='measure times; takes minutes')
    parser.add_argument('--image-size', type=int, help=f'for --bench: {SIZES[0]}, quick {SIZES[1]}')
    parser.add_argument('--batch', type=int, help='for --bench: 1 in inference, 2 in training')
    parser.add_argument('--rounds', type=int, help=f'for --bench: {ROUNDS[0]}, quick {ROUNDS[1]}')
    parser.add_argument('--device', default='cpu', help='for --bench: cpu (default) or cuda')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, smaller images')
    parser.add_argument(
        '--json',
        nargs='?',
        const='-',
        metavar='FILE',
        help='write the numbers to FILE, or print only JSON',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/roadmap'), help='folder of the figure'
    )
    return parser.parse_args()


def check_arguments(arguments: argparse.Namespace) -> None:
    names = [step.name for step in ROADMAP]
    unknown = [name for name in arguments.steps or () if name not in names]
    if unknown:
        raise UserError(f'--steps: expected some of {", ".join(names)}, got {", ".join(unknown)}')
    require_at_least(32, {'image-size': arguments.image_size})
    require_at_least(1, {'batch': arguments.batch, 'rounds': arguments.rounds})
    for name in ('image_size', 'batch', 'rounds'):
        if getattr(arguments, name) is not None and not arguments.bench:
            raise UserError(f'--{name.replace("_", "-")}: expected --bench with it, got none')
    require_device(arguments.device)


def bench_of(arguments: argparse.Namespace) -> Bench:
    return Bench(
        arguments.image_size or SIZES[arguments.quick],
        (arguments.batch, arguments.batch) if arguments.batch else BATCHES,
        arguments.rounds or ROUNDS[arguments.quick],
        arguments.device,
    )


def make(arguments: argparse.Namespace, regime: str, steps: list[Step], own: OwnResults) -> Way:
    names = [step.name for step in steps]
    counted = {name: count_step(name, regime) for name in names}
    if not arguments.bench:
        return make_way(regime, steps, counted, own)
    bench = bench_of(arguments)
    with watch(regime, 2 * len(names) * (bench.rounds + 1)) as report:
        timings = time_steps(names, regime, bench, report)
    timed = f'{bench.in_words()}; {machine(arguments.device)}'
    return make_way(regime, steps, counted, own, timings, timed)


def main() -> None:
    arguments = parse_arguments()
    check_arguments(arguments)
    torch.backends.cudnn.allow_tf32 = False
    runs, left_out = read_own_runs(arguments.results)
    json_file = Path(arguments.json) if arguments.json not in (None, '-') else None
    make_folders(arguments.out, json_file)
    own = own_results(runs)
    regimes = REGIMES if arguments.regime == 'both' else (arguments.regime,)
    steps = [one for one in ROADMAP if not arguments.steps or one.name in arguments.steps]
    left_out += [
        f'your {step} of the regime {regime}; --regime both shows all'
        for regime, step in own
        if regime not in regimes or step not in [one.name for one in steps]
    ]
    for problem in left_out:
        print(f'left out: {problem}', file=sys.stderr)
    ways = [make(arguments, regime, steps, own) for regime in regimes]
    path = arguments.out / f'roadmap_{arguments.regime}.png'
    draw_roadmap(ways, path)
    content = [way.as_json() for way in ways]
    if arguments.json == '-':
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return
    if json_file:
        write_json(json_file, content)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for way in ways:
        console.print(way.render(), highlight=False)
    print(f'written: {path}')


if __name__ == '__main__':
    with one_line_errors():
        main()
