"""Compare time and memory with other implementations, after checking that results are equal.

Example:
    python tools/benchmark.py backbone --arch tiny --versions v1 v2 --sizes 224 512
    python tools/benchmark.py head segmentor --train --rivals mmseg --json segmentor.json
    python tools/benchmark.py backbone --device cuda --amp bf16 --batch 16 --sizes 512 --compile

Each implementation is measured as shipped and tuned (channels_last); implementations that are not
installed are skipped with a message. Writes a bar chart for each kind.
"""

import argparse
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

warnings.filterwarnings('ignore', module='mmseg')  # of its own functions, for each variant
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.case import Case  # noqa: E402
from benchmarks.figure import draw, table  # noqa: E402
from benchmarks.jobs import ARCHS, ROUNDS, jobs  # noqa: E402
from benchmarks.rivals import NEEDED  # noqa: E402
from benchmarks.task import DTYPES, SCOPES  # noqa: E402
from mmconvnext.analysis.benchmark.machine import machine  # noqa: E402
from mmconvnext.analysis.benchmark.memory import MemoryMeter  # noqa: E402
from mmconvnext.command_line import measuring  # noqa: E402
from mmconvnext.errors import UserError, one_line_errors  # noqa: E402
from mmconvnext.files import write_json  # noqa: E402


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
    modes.add_argument('--train', action='store_true', help='only training steps')
    modes.add_argument('--infer', action='store_true', help='only inference')
    add('--rivals', help='names separated by commas, or none; default: all installed')
    add('--compile', action='store_true',
        help='also torch.compile, for whole models and for our blocks; takes minutes')  # fmt: skip
    add('--amp', choices=DTYPES, help='mixed precision; default: float32')
    add('--tf32', action='store_true', help='allow TF32 for float32 products on CUDA')
    add('--device', default='cpu', help='cpu (default) or cuda')
    add('--rounds', type=int, help=f'default: {ROUNDS[0]}, quick {ROUNDS[1]}')
    add('--quick', action='store_true', help='fewer rounds, smaller inputs')
    add('--no-memory', action='store_true', help='do not measure peak memory')
    add('--json', type=Path, metavar='FILE', help='write the numbers')
    add('--out', type=Path, default=Path('work_dirs/benchmark'), help='folder of the bar charts')
    return parser.parse_args()


def check_arguments(arguments: argparse.Namespace) -> None:
    """Check the arguments; turn --rivals into a list, or None for all."""
    measuring.require_device(arguments.device)
    measuring.make_folders(arguments.out, arguments.json)
    measuring.require_at_least(1, {'rounds': arguments.rounds, 'batch': arguments.batch})
    if arguments.rivals is None:
        return
    arguments.rivals = [] if arguments.rivals == 'none' else arguments.rivals.split(',')
    unknown = ', '.join(name for name in arguments.rivals if name not in NEEDED)
    if unknown:
        raise UserError(f'--rivals: expected none or some of {", ".join(NEEDED)}, got {unknown}')


def main() -> None:
    arguments = parse_arguments()
    check_arguments(arguments)
    todo = list(jobs(arguments))
    left_out = {name: why for job in todo for name, why in job.left_out.items()}
    # float32 for everything, also for the GEMM ceiling, unless an option says otherwise.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    here = machine(arguments.device)._asdict()
    del here['load']
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(', '.join(f'{key} {value}' for key, value in here.items()), highlight=False)
    for name, reason in left_out.items():
        console.print(f'left out: {name}: {reason}', highlight=False)
    cases: dict[str, list[Case]] = {}
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)  # for processes that measure memory
    theirs = [name for names in NEEDED.values() for name in names if name in sys.modules]
    wanted = arguments.device == 'cpu' and not arguments.no_memory
    memory = MemoryMeter(['benchmarks.rivals', *theirs]) if wanted else None
    for number, job in enumerate(todo, 1):
        case = job.measure(f'{number}/{len(todo)}', arguments, memory)
        cases.setdefault(job.kind, []).append(case)
        console.print(table(case))
    if arguments.json:
        numbers = {kind: [asdict(one) for one in found] for kind, found in cases.items()}
        write_json(arguments.json, {'machine': here, 'left_out': left_out, 'cases': numbers})
        print(f'written: {arguments.json}')
    for kind, measured in cases.items():
        path = arguments.out / f'{kind}.png'
        draw(measured, path)
        print(f'written: {path}')


if __name__ == '__main__':
    with one_line_errors():
        main()
