"""Show the learning rates of a config: every parameter group, and the schedule.

Needs no data and trains nothing. The plot goes to work_dirs/show_lr/CONFIG.png. With --batch,
accumulation, learning rate and schedule are fitted to the GPUs, and the command is printed.

Example:
    python tools/show_lr.py configs/upernet_convnext_t_ade20k.py
    python tools/show_lr.py configs/upernet_convnext_t_ade20k.py --gpus 2 --batch 2
    python tools/show_lr.py configs/mask_rcnn_convnext_t_coco.py --iters-per-epoch 7393 --out lr.png
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

from mmengine.logging import MMLogger
from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.learning_rates.batch import BatchPlan, plan_batch
from mmconvnext.analysis.learning_rates.figure import draw, groups_table, schedule_table
from mmconvnext.analysis.learning_rates.plan import LearningRatePlan, make_plan
from mmconvnext.command_line import options
from mmconvnext.command_line.overrides import override
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
    parser.add_argument('--gpus', type=int, default=1, metavar='N', help='of the run; default: 1')
    parser.add_argument(
        '--batch',
        type=int,
        metavar='B',
        help="images of an iteration on each GPU: fit the config to them; default: the config's",
    )
    parser.add_argument('--json', action='store_true', help='print only JSON; plot only with --out')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    for option in ('iters_per_epoch', 'gpus', 'batch'):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            name = option.replace('_', '-')
            raise UserError(f'--{name}: expected 1 or more, got {value}')
    if arguments.out and arguments.out.suffix != '.png':
        raise UserError(f'--out: expected a name that ends in .png, got {arguments.out}')
    if arguments.batch and arguments.auto_scale_lr:
        raise UserError(
            '--auto-scale-lr: expected without --batch, which adds it where it is needed'
        )
    config = options.load_config(arguments)
    fitted = arguments.batch and plan_batch(config, arguments.gpus, arguments.batch)
    if fitted:
        override(config, fitted.options)
    if arguments.auto_scale_lr or (fitted and fitted.auto_scale_lr):
        options.set_learning_rate_scaling(config)
    MMLogger.get_instance('show_lr', log_level='ERROR')  # constructors log every parameter
    plan = make_plan(config, per_epoch=arguments.iters_per_epoch, processes=arguments.gpus)
    name = Path(arguments.config).stem
    out = arguments.out
    if out is None and not arguments.json:
        out = Path('work_dirs/show_lr') / f'{name}.png'
    if out:
        draw(name, plan, out)
    train = fitted and _command(arguments, fitted)
    if arguments.json:
        content = {'config': name, **plan.as_json()}
        if fitted:
            content['batch'] = {**fitted._asdict(), 'command': train}
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    console.print(groups_table(plan.rates.groups), plan.explanation, '')
    console.print(schedule_table(plan), *plan.notices(), f'written: {out}', sep='\n')
    if fitted:
        print(f'\n{_sentence(fitted, plan)}\n\n{train}')


def _command(arguments: argparse.Namespace, fitted: BatchPlan) -> str:
    """Return the command that trains with the fitted config, to be pasted into a shell."""
    start = ['tools/dist_train.sh', arguments.config, str(fitted.gpus)]
    if fitted.gpus == 1:
        start = ['python', 'tools/train.py', arguments.config]
    given = (arguments.cfg_options or {}) | fitted.options
    entries = [f'{key}={value}'.replace(' ', '') for key, value in given.items()]
    scaling = ['--auto-scale-lr'] if fitted.auto_scale_lr else []
    return shlex.join([*start, *scaling, '--cfg-options', *entries])


def _sentence(fitted: BatchPlan, plan: LearningRatePlan) -> str:
    step = f'{fitted.gpus} GPUs × {fitted.batch} images × {fitted.accumulation} accumulated'
    factor = fitted.effective / fitted.published
    length = f'{plan.length.iterations:,} iterations'
    if plan.length.assumed:
        length = f'{plan.length.epochs} epochs, of an unknown number of iterations'
    return (
        f'{step} = {fitted.effective} images a step; published: {fitted.published}. Learning rate '
        f'× {factor:.4g} = {plan.rates.base_lr:g}; {length}.'
    )


if __name__ == '__main__':
    with one_line_errors():
        main()
