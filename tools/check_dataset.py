"""Check a config's data before training.

Opens every image and label map once and compares them with the annotations, the classes and the
heads of the model. The exit code is 1 if training or evaluation would fail or silently be wrong.

Example:
    python tools/check_dataset.py configs/upernet_convnext_t_ade20k.py
    python tools/check_dataset.py configs/mask_rcnn_convnext_t_coco.py --json > report.json
"""

import argparse
import json
import multiprocessing
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.command_line import options
from mmconvnext.data.checks import require_data
from mmconvnext.errors import one_line_errors
from mmconvnext.files import make_folder
from mmconvnext.preflight import preflight, report
from mmconvnext.preflight.figure import draw_plots


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_config_arguments(parser)
    options.add_config_check_argument(parser)
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder of the plots; default: work_dirs/check_dataset/CONFIG',
    )
    parser.add_argument(
        '--jobs',
        type=options.positive,
        default=multiprocessing.cpu_count(),
        metavar='N',
        help='number of processes that read images; default: one for each CPU',
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    config = options.load_config(arguments)
    require_data(config, 'train', 'val')
    out = arguments.out or Path('work_dirs', 'check_dataset', Path(arguments.config).stem)
    make_folder('--out', out)
    console = Console(stderr=True)
    columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        tasks = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f'{name} images', total=total)
            progress.update(tasks[name], completed=done)

        checked = preflight(config, jobs=arguments.jobs, report=show)
    plots = draw_plots(checked.summaries, out)
    if arguments.json:
        json.dump({**report.as_json(checked), 'plots': [*map(str, plots)]}, sys.stdout, indent=2)
        print()
    else:
        report.print_report(checked, Console(width=None if sys.stdout.isatty() else 120))
        for plot in plots:
            print(f'written: {plot}')
        print(report.verdict(checked))
    return int(bool(checked.findings.of('error')))


if __name__ == '__main__':
    with one_line_errors():
        sys.exit(main())
