"""The way from ResNet to ConvNeXt: what each step costs, and what it reaches.

Prints a table and draws the paper's figure 2 anew: multiply-accumulates and parameters counted
here beside the published figures, and with --results the accuracy of your own runs. --bench adds
the time of inference and of a training step on this machine; all steps are in memory then.

Example:
    python tools/roadmap.py
    python tools/roadmap.py --results work_dirs/roadmap_resnet50_in1k --out figures
    python tools/roadmap.py --regime both --bench --json roadmap.json
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.benchmark.machine import machine
from mmconvnext.analysis.benchmark.options import require_device, watch
from mmconvnext.errors import UserError, one_line_errors
from mmconvnext.studies.roadmap.costs import SIZE, Timing, count_step, time_steps
from mmconvnext.studies.roadmap.figure import draw_roadmap
from mmconvnext.studies.roadmap.network import REGIMES, ROADMAP
from mmconvnext.studies.roadmap.runs import own_results, read_own_runs
from mmconvnext.studies.roadmap.table import Way, make_way

# In full and with --quick.
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
        '--steps', nargs='+', metavar='STEP', help=f'of {", ".join(names)}; default: all'
    )
    parser.add_argument(
        '--results',
        nargs='+',
        default=[],
        metavar='FILE|DIR',
        help='work dirs of your own runs, folders of them, or single logs; their configs are run',
    )
    parser.add_argument('--bench', action='store_true', help='measure times; minutes')
    parser.add_argument('--image-size', type=int, help=f'of --bench: {SIZES[0]}, quick {SIZES[1]}')
    parser.add_argument('--batch', type=int, help='of --bench: 1 in inference, 2 in training')
    parser.add_argument('--rounds', type=int, help=f'of --bench: {ROUNDS[0]}, quick {ROUNDS[1]}')
    parser.add_argument('--device', default='cpu', help='of --bench: cpu (default) or cuda')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, smaller pictures')
    parser.add_argument(
        '--json',
        nargs='?',
        const='-',
        metavar='FILE',
        help='write the numbers, or print JSON alone',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/roadmap'), help='folder of the picture'
    )
    return parser.parse_args()


def check_arguments(arguments: argparse.Namespace) -> None:
    names = [step.name for step in ROADMAP]
    unknown = [name for name in arguments.steps or () if name not in names]
    if unknown:
        raise UserError(f'--steps: expected some of {", ".join(names)}, got {", ".join(unknown)}')
    for name, least in (('image_size', 32), ('batch', 1), ('rounds', 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            option = f'--{name.replace("_", "-")}'
            raise UserError(f'{option}: expected {least} or more, got {value}')
        if value is not None and not arguments.bench:
            raise UserError(f'--{name.replace("_", "-")}: expected --bench with it, got none')
    require_device(arguments.device)
    if arguments.json not in (None, '-') and Path(arguments.json).is_dir():
        raise UserError(f'--json: expected a file to write, got the folder {arguments.json}')


def make_folder(folder: Path) -> None:
    """Now: what cannot be written is to be told before minutes of measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out: expected a folder to write to ({error})') from error


def bench(arguments: argparse.Namespace, names: list[str], regime: str) -> dict[str, Timing]:
    rounds = arguments.rounds or ROUNDS[arguments.quick]
    with watch(regime, 2 * len(names) * (rounds + 1)) as report:
        return time_steps(
            names,
            regime,
            size=arguments.image_size or SIZES[arguments.quick],
            batches=_batches(arguments),
            rounds=rounds,
            device=arguments.device,
            report=report,
        )


def _batches(arguments: argparse.Namespace) -> tuple[int, int]:
    return (arguments.batch, arguments.batch) if arguments.batch else BATCHES


def describe_bench(arguments: argparse.Namespace) -> str:
    """Where, when and on what the times were taken."""
    side = arguments.image_size or SIZES[arguments.quick]
    inference, training = _batches(arguments)
    return (
        f'{inference} × {side}² in inference, {training} × {side}² in a training step (forward and '
        f'backward), float32, {arguments.rounds or ROUNDS[arguments.quick]} interleaved rounds, '
        f'medians and quartiles; {machine(arguments.device)}'
    )


def write_json(ways: list[Way], destination: str) -> None:
    text = json.dumps([way.as_json() for way in ways], indent=1, ensure_ascii=False)
    if destination == '-':
        print(text)
        return
    path = Path(destination)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text + '\n')
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f'--json: expected a file to write ({error})') from error


def main() -> None:
    arguments = parse_arguments()
    check_arguments(arguments)
    torch.backends.cudnn.allow_tf32 = False
    runs, left_out = read_own_runs(arguments.results)
    for problem in left_out:
        print(f'left out: {problem}', file=sys.stderr)
    make_folder(arguments.out)
    own = own_results(runs)
    regimes = REGIMES if arguments.regime == 'both' else [arguments.regime]
    steps = [one for one in ROADMAP if not arguments.steps or one.name in arguments.steps]
    names = [step.name for step in steps]
    ways = []
    for regime, step in own:
        if regime not in regimes or step not in names:
            print(
                f'left out: your {step} of the regime {regime}; --regime both shows all',
                file=sys.stderr,
            )
    for regime in regimes:
        counted = {name: count_step(name, regime) for name in names}
        timings = bench(arguments, names, regime) if arguments.bench else None
        timed = describe_bench(arguments) if arguments.bench else ''
        ways.append(make_way(regime, steps, counted, own, timings, timed))
    path = arguments.out / f'roadmap_{arguments.regime}.png'
    draw_roadmap(ways, path)
    if arguments.json:
        write_json(ways, arguments.json)
    if arguments.json != '-':
        console = Console(width=None if sys.stdout.isatty() else 160)
        for way in ways:
            console.print(way.render(), highlight=False)
        print(f'written: {path}')


if __name__ == '__main__':
    with one_line_errors():
        main()
