"""Evaluate a checkpoint of a segmentor, detector or classifier.

Example:
    python tools/test.py configs/upernet_convnext_t_ade20k.py work_dirs/upernet/iter_160000.pth
"""

import argparse
from numbers import Real
from pathlib import Path

from mmengine.dist import is_main_process

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.command_line import options, resuming, testing
from mmconvnext.command_line.hardware import fit_to_hardware, leave_process_group
from mmconvnext.command_line.unusable_files import name_unusable_files
from mmconvnext.data.checks import require_data
from mmconvnext.errors import one_line_errors
from mmconvnext.files import make_folder
from mmconvnext.runner.runner import Runner


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_shared_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--tta', action='store_true', help='multi-scale and flip testing')
    parser.add_argument(
        '--deploy', action='store_true', help='fold constant factors into the weights first'
    )
    parser.add_argument('--show-dir', metavar='DIR', help='draw every prediction into DIR')
    parser.add_argument(
        '--out',
        metavar='DIR|FILE.pkl',
        help='write predictions: a folder for label maps or COCO json, or a .pkl file',
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    options.force_safe_loading()
    config = options.load_config(arguments)
    require_data(config, 'test')
    config.resume = False
    resuming.set_checkpoint(config, arguments.checkpoint)
    if arguments.show_dir:
        testing.set_image_folder(config, arguments.show_dir)
    if arguments.out:
        testing.set_predictions(config, arguments.out)
    if arguments.tta:
        testing.set_tta(config)
    if arguments.deploy:
        testing.set_deploy(config)
    notices = fit_to_hardware(config)
    name_unusable_files(config)
    make_folder('--work-dir', Path(config.work_dir))
    runner = Runner.from_cfg(config)
    for notice in notices:
        runner.logger.warning(notice)
    metrics = runner.test()
    if is_main_process():
        numbers = {k: v for k, v in metrics.items() if isinstance(v, Real)}
        print(', '.join(f'{name} {value:.4g}' for name, value in numbers.items()))
        for written in filter(None, (arguments.show_dir, arguments.out)):
            print(f'written: {written}')


if __name__ == '__main__':
    with one_line_errors():
        main()
        leave_process_group()
