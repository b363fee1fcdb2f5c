"""Test published segmentors here, and print our mIoU beside the published one.

Example:
    python tools/reproduce.py downloads/upernet_convnext_tiny_1k_512x512.pth --tta
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.checkpoints.published import SEGMENTORS, Published
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import UserError, one_line_errors

TOOLS = Path(__file__).resolve().parent


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', help='files or URLs under their published names')
    parser.add_argument('--tta', action='store_true', help='multi-scale and flip testing')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'))
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='as in tools/test.py'
    )
    return parser.parse_args()


def find(file: str) -> tuple[Path, Published]:
    path = fetch(file)
    if path.name not in SEGMENTORS:
        raise UserError(
            f'{path.name}: expected the name of a published segmentor, one of '
            f'{", ".join(SEGMENTORS)}'
        )
    read_checkpoint(str(path), map_location='meta')  # a broken one is told before hours of testing
    return path, SEGMENTORS[path.name]


def measure(path: Path, published: Published, arguments: argparse.Namespace) -> float | None:
    config = TOOLS.parent / 'configs' / f'{published.config}.py'
    command = [sys.executable, TOOLS / 'test.py', config, path]
    command += ['--work-dir', arguments.work_dir / path.stem]
    command += ['--tta'] if arguments.tta else []
    command += ['--cfg-options', *arguments.cfg_options] if arguments.cfg_options else []
    # The test's progress is for the person at the terminal; its last lines are for us.
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True
    ) as run:
        output = []
        for line in run.stdout:
            sys.stderr.write(line)
            output.append(line)
    result = re.search(r'^aAcc .*mIoU (\S+),', ''.join(output), re.M)
    return None if run.returncode or result is None else float(result[1])


def main() -> None:
    arguments = parse_arguments()
    found = [find(file) for file in arguments.files]
    table = Table('file', 'config', 'mIoU here', 'mIoU published', 'published by')
    failed = False
    for path, published in found:
        here = measure(path, published, arguments)
        failed |= here is None
        there = published.multi_scale if arguments.tta else published.single_scale
        measured = 'failed' if here is None else f'{here:.2f}'
        table.add_row(path.name, published.config, measured, str(there), published.publisher)
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    if failed:
        sys.exit(1)  # each test has said why


if __name__ == '__main__':
    with one_line_errors():
        main()
