"""Measure everything on a GPU in one run: correctness, times, memory and a profile.

Example:
    python benchmarks/gpu.py --out work_dirs/gpu
    python benchmarks/gpu.py --out work_dirs/gpu --stages compile blocks --budget 280
    python benchmarks/gpu.py --out work_dirs/gpu --device cpu --tiny

The stages run in order of worth, each within its own time: those of the first command end within
five minutes, those of the second within four. Every finding is a line in DIR/gpu.jsonl at once; at
the end all lines of that file become DIR/gpu.md. The third command proves the stages on a CPU, with
small models. Rivals are those that are installed or, for want of that, in .rivals; fastforks, which
only runs published weights, is named and not measured. cuDNN does not search for the fastest
convolutions, which takes minutes and changed no time of ours.
"""

import argparse
import json
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
if __name__ == '__main__':  # a process that imports this has its own path
    # Last: a torchvision that was installed for this torch comes first.
    sys.path.append(str(ROOT / '.rivals'))
warnings.filterwarnings('ignore')

import torch  # noqa: E402

from benchmarks import operators, rivals  # noqa: E402
from benchmarks.findings import Findings, page  # noqa: E402
from benchmarks.gpu_correctness import correct  # noqa: E402
from benchmarks.gpu_runs import train, waits  # noqa: E402
from benchmarks.gpu_setup import Setup  # noqa: E402
from benchmarks.gpu_times import (  # noqa: E402
    backbones,
    blocks,
    compiled,
    compiled_inference,
    micro,
    models,
    precision,
    profile,
    triton,
)
from mmconvnext.analysis.benchmark.machine import machine as this_machine  # noqa: E402


class Stage(NamedTuple):
    """A function that takes a Setup, and its time limit in seconds."""

    run: Callable[[Setup], None]
    seconds: float


def machine(setup: Setup) -> None:
    """Report the machine, and its limits for memory copies and matrix products."""
    on_cuda, here = setup.device != 'cpu', this_machine(setup.device)
    setup.findings.say(
        'machine',
        device=here.device,
        driver=_driver() if on_cuda else None,
        torch=here.torch,
        cudnn=torch.backends.cudnn.version(),
        python=platform.python_version(),
        date=here.date,
        torchvision_operators=operators.operates(setup.device),
    )
    for kind in rivals.BUILDERS:
        found, left_out = rivals.available(kind)
        setup.findings.say(f'rivals, {kind}', there=sorted(found), left_out=left_out)
    side = 8192 if on_cuda else 256
    source = torch.empty(1 << (30 if on_cuda else 20), dtype=torch.uint8, device=setup.device)
    target = torch.empty_like(source.fill_(1))
    matrix = torch.randn(side, side, device=setup.device, dtype=torch.bfloat16)
    steps = {
        f'copy of {len(source) >> 20} MiB': lambda _: target.copy_(source),
        f'product of {side}² in bf16': lambda _: matrix @ matrix,
    }
    setup.time('ceilings', steps)


def _driver() -> str:
    from torch.utils.collect_env import get_nvidia_driver_version, run

    return str(get_nvidia_driver_version(run))


STAGES = {
    'machine': Stage(machine, 20),
    'correct': Stage(correct, 90),
    'backbones': Stage(backbones, 75),
    'models': Stage(models, 100),
    'train': Stage(train, 130),
    'waits': Stage(waits, 20),
    'compile': Stage(compiled, 200),
    'compile-inference': Stage(compiled_inference, 110),
    'blocks': Stage(blocks, 80),
    'precision': Stage(precision, 25),
    'profile': Stage(profile, 20),
    'micro': Stage(micro, 10),
    'triton': Stage(triton, 30),
}
FIRST = ('machine', 'correct', 'backbones', 'models', 'train', 'waits')


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu'), metavar='DIR')
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'))
    parser.add_argument('--tiny', action='store_true', help='small models, one round, no limits')
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=FIRST, metavar='STAGE',
                        help=f'{", ".join(STAGES)}; default: the first {len(FIRST)}')  # fmt: skip
    parser.add_argument('--budget', type=float, default=300, help='seconds in all (default 300)')
    arguments = parser.parse_args()
    if arguments.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device: expected a GPU for cuda, found none; --device cpu --tiny tries it')
    return arguments


def run_stage(name: str, setup: Setup, budget: float) -> None:
    """Run a stage within its time limit and the rest of the budget, in seconds."""
    findings, stage = setup.findings, STAGES[name]
    left = float('inf') if setup.tiny else budget - findings.seconds()
    findings.begin(name, left if setup.tiny else min(stage.seconds, left))
    if left < 5:
        findings.say(f'stage {name} skipped, no time left', ok=False)
        return
    started = findings.seconds()
    with findings.case(f'stage {name}'):
        stage.run(setup)
    findings.say('stage ended', seconds=round(findings.seconds() - started, 1))


def main() -> None:
    arguments = parse_arguments()
    findings = Findings(arguments.out / 'gpu.jsonl')
    setup = Setup(arguments.device, arguments.tiny, findings)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    path = arguments.out / 'gpu.md'
    for name in arguments.stages:
        run_stage(name, setup, arguments.budget)
        # Now: the next stage may be ended from outside.
        lines = [json.loads(line) for line in findings.path.read_text().splitlines()]
        path.write_text(page(lines))
    print(path.read_text())
    print(f'written: {findings.path}, {path}')


if __name__ == '__main__':
    main()
