"""Plot the logs of one or several training runs: loss, learning rates, metrics, classes.

Writes loss.png, lr.png, metrics.png and, if the logs have scores of classes, classes_….png.

Example:
    python tools/plot_logs.py work_dirs/demo
    python tools/plot_logs.py work_dirs/a work_dirs/b --metric mIoU mAcc --out figures
"""

import argparse
import json
from pathlib import Path

from mmconvnext.analysis.logs.figure import draw_all, main_metrics
from mmconvnext.analysis.logs.runs import read_runs
from mmconvnext.errors import UserError, one_line_errors


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='work dir of a training run'
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder of the plots; default: WORK_DIR/plots, or work_dirs/plots for several runs',
    )
    parser.add_argument(
        '--metric',
        nargs='+',
        metavar='NAME',
        help='scalars in metrics.png; default: mIoU, or box and mask AP',
    )
    parser.add_argument(
        '--smooth',
        type=int,
        metavar='N',
        help="average N logged losses; default: a fiftieth of the run's; 1: no average",
    )
    parser.add_argument('--json', action='store_true', help='print only JSON: results and files')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.smooth is not None and arguments.smooth < 1:
        raise UserError(f'--smooth: expected 1 or more, got {arguments.smooth}')
    runs = read_runs(arguments.work_dirs)
    names = arguments.metric or main_metrics(runs)
    known = list(dict.fromkeys(name for run in runs for name in run.scalars()))
    for name in names:
        if name not in known:
            raise UserError(f'--metric: expected some of {", ".join(known)}, got {name}')
    alone = Path(arguments.work_dirs[0]) if len(runs) == 1 else Path('work_dirs')
    written = draw_all(runs, names, arguments.smooth, arguments.out or alone / 'plots')
    if arguments.json:
        content: dict[str, object] = {'runs': {run.name: run.summary() for run in runs}}
        content['written'] = [str(path) for path in written]
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return
    for run in runs:
        for name, result in run.summary()['metrics'].items():
            if name in names:
                last, best = (f'{result[key]:.4g}' for key in ('last', 'best'))
                print(f'{run.name}: {name} {last}, best {best} at {result["best_at"]:,}')
    for path in written:
        print(f'written: {path}')


if __name__ == '__main__':
    with one_line_errors():
        main()
