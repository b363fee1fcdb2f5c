"""Test published models, and print our results next to the published results.

Example:
    python tools/reproduce.py upernet_convnext_tiny_1k_512x512.pth mask_rcnn_convnext_tiny_1k_3x.pth
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.releases import RELEASES, Release
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


def find(file: str) -> tuple[Path, Release]:
    path = fetch(file)
    if path.name not in RELEASES:
        raise UserError(
            f'{path.name}: expected the name of a published model, one of {", ".join(RELEASES)}'
        )
    read_checkpoint(str(path), map_location='meta')  # reports a broken file before hours of tests
    return path, RELEASES[path.name]


def measure(
    path: Path, published: Release, arguments: argparse.Namespace
) -> dict[str, float] | None:
    """Return results in percent by name; None if the test failed and printed the reason."""
    config = TOOLS.parent / 'configs' / f'{published.config}.py'
    command = [sys.executable, TOOLS / 'test.py', config, path]
    command += ['--work-dir', arguments.work_dir / path.stem]
    command += ['--tta'] if arguments.tta else []
    command += ['--cfg-options', *arguments.cfg_options] if arguments.cfg_options else []
    # The progress is shown on the terminal; the last lines are parsed here.
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True
    ) as run:
        output = []
        for line in run.stdout or ():
            sys.stderr.write(line)
            output.append(line)
    printed = dict(re.findall(r'([\w/]+) ([\d.-]+)(?:, |$)', ''.join(output), re.M))
    if run.returncode or not published.results.keys() <= printed.keys():
        return None
    # COCO's APs are fractions.
    return {
        name: float(printed[name]) * (100 if name.startswith('coco/') else 1)
        for name in published.results
    }


def main() -> None:
    arguments = parse_arguments()
    found = [find(file) for file in arguments.files]
    table = Table('file', 'config', 'result', 'here', 'published', 'published by')
    failed = False
    for path, published in found:
        here = measure(path, published, arguments)
        failed |= here is None
        there = published.augmented if arguments.tta else published.results
        for name in published.results:
            measured = 'failed' if here is None else f'{here[name]:.2f}'
            figure = str(there.get(name, '–'))
            table.add_row(path.name, published.config, name, measured, figure, published.publisher)
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    if failed:
        sys.exit(1)  # each failed test has printed its reason


if __name__ == '__main__':
    with one_line_errors():
        main()
