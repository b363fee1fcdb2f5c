"""Show the learning rates of a config: every parameter group, and the schedule.

Needs no data and trains nothing. The plot goes to work_dirs/show_lr/CONFIG.png.

Example:
    python tools/show_lr.py configs/upernet_convnext_t_ade20k.py
    python tools/show_lr.py configs/mask_rcnn_convnext_t_coco.py --iters-per-epoch 7393 --out lr.png
"""

import argparse
import json
import sys
from pathlib import Path

from mmengine.logging import MMLogger
from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.learning_rates.figure import draw, groups_table, schedule_table
from mmconvnext.analysis.learning_rates.plan import make_plan
from mmconvnext.command_line import options
from mmconvnext.errors import UserError, one_line_errors


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_config_arguments(parser)
    parser.add_argument('--out', type=Path, metavar='FILE.png', help='file of the plot')
    parser.add_argument(
        '--iters-per-epoch',
        type=int,
        metavar='N',
        help='iterations of an epoch, if the config counts epochs; default: those of its data',
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size'
    )
    parser.add_argument(
        '--processes', type=int, default=1, metavar='N', help='training processes; default: 1'
    )
    parser.add_argument('--json', action='store_true', help='print only JSON; plot only with --out')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    for option in ('iters_per_epoch', 'processes'):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            name = option.replace('_', '-')
            raise UserError(f'--{name}: expected 1 or more, got {value}')
    if arguments.out and arguments.out.suffix != '.png':
        raise UserError(f'--out: expected a name that ends in .png, got {arguments.out}')
    config = options.load_config(arguments)
    if arguments.auto_scale_lr:
        options.set_learning_rate_scaling(config)
    MMLogger.get_instance('show_lr', log_level='ERROR')  # constructors log every parameter
    plan = make_plan(config, per_epoch=arguments.iters_per_epoch, processes=arguments.processes)
    name = Path(arguments.config).stem
    out = arguments.out
    if out is None and not arguments.json:
        out = Path('work_dirs/show_lr') / f'{name}.png'
    if out:
        draw(name, plan, out)
    if arguments.json:
        print(json.dumps({'config': name, **plan.as_json()}, indent=1, ensure_ascii=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    console.print(groups_table(plan.rates.groups), plan.explanation, '')
    console.print(schedule_table(plan), *plan.notices(), f'written: {out}', sep='\n')


if __name__ == '__main__':
    with one_line_errors():
        main()
