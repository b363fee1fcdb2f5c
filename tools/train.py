"""Train a segmentor, detector or classifier.

Example:
    python tools/train.py configs/upernet_convnext_t_ade20k.py
"""

import argparse
import sys

from mmengine.config import Config

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.command_line import options, resuming
from mmconvnext.command_line.hardware import fit_to_hardware, leave_process_group
from mmconvnext.command_line.unusable_files import name_unusable_files
from mmconvnext.command_line.work_dir import hold
from mmconvnext.data.checks import require_data
from mmconvnext.errors import one_line_errors
from mmconvnext.hooks.signals import Stopped
from mmconvnext.preflight import require_ready
from mmconvnext.runner.runner import Runner


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_shared_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|FILE',
        help='resume from FILE; without FILE, from the newest undamaged checkpoint in the work dir',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help="replace another run's checkpoints in the work dir, after this run's first checkpoint",
    )
    parser.add_argument(
        '--pretrained',
        metavar='FILE|URL|hf://OWNER/REPOSITORY/FILE|none',
        help="the backbone's weights instead of the config's; none: from scratch",
    )
    parser.add_argument(
        '--amp',
        action=argparse.BooleanOptionalAction,
        help="mixed precision; default: the config's choice",
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size'
    )
    parser.add_argument('--seed', type=options.seed, help='seed of every random number generator')
    return parser.parse_args()


def main() -> int:
    """Train, and return the exit code."""
    arguments = parse_arguments()
    options.force_safe_loading()
    config = options.load_config(arguments)
    require_data(config, 'train', 'val')
    found = require_ready(config)
    options.set_seed(config, arguments.seed)
    options.set_precision(config, arguments.amp)
    if arguments.auto_scale_lr:
        options.set_learning_rate_scaling(config)
    with hold(config.work_dir, config.launcher):
        return _train(config, arguments, found)


def _train(config: Config, arguments: argparse.Namespace, notices: list[str]) -> int:
    notices += resuming.set_resume(config, arguments.resume, overwrite=arguments.overwrite)
    if not config.get('resume'):
        notices += options.set_pretrained(config, arguments.pretrained)
    elif arguments.pretrained:
        notices.append('--pretrained is ignored: the checkpoint has all weights')
    notices += fit_to_hardware(config)
    name_unusable_files(config)
    runner = Runner.from_cfg(config)
    for notice in notices:
        runner.logger.warning(notice)
    try:
        runner.train()
    except Stopped as stopped:
        return 128 + stopped.signal
    return 0


if __name__ == '__main__':
    with one_line_errors():
        code = main()
        leave_process_group()
        sys.exit(code)
