r"""Write a config for a custom dataset, with classes, paths, heads and learning rate.

Use COCO json files with Mask R-CNN and Cascade Mask R-CNN configs, and folders of label maps (one
channel, ids from 0 to 255) with UperNet configs. The exit code is 1 if training would fail.

Example:
    python tools/custom_dataset.py configs/mask_rcnn_convnext_t_coco.py configs/mine.py \
        --train-ann data/mine/train.json --train-images data/mine/train \
        --val-ann data/mine/val.json --val-images data/mine/val
    python tools/custom_dataset.py configs/upernet_convnext_t_ade20k.py configs/mine.py \
        --train-images data/mine/images/train --train-labels data/mine/labels/train \
        --val-images data/mine/images/val --val-labels data/mine/labels/val \
        --classes road building sky --batch-size 4 --devices 2 --iters 20000
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.command_line.options import positive
from mmconvnext.config.config_file import read_config
from mmconvnext.custom_dataset.dataset import OwnData, train_command, write_custom_config
from mmconvnext.custom_dataset.schedule import Length
from mmconvnext.errors import one_line_errors
from mmconvnext.preflight import preflight, report


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('base', metavar='BASE_CONFIG', help='config file, or mmconvnext::NAME.py')
    parser.add_argument('out', metavar='OUT.py', type=Path, help='config to write')
    for split, use in (('train', 'to train on'), ('val', 'held out')):
        parser.add_argument(f'--{split}-images', required=True, help=f'folder of images {use}')
        parser.add_argument(
            f'--{split}-ann', metavar='FILE', default='', help='COCO json of these images'
        )
        parser.add_argument(f'--{split}-labels', metavar='DIR', default='', help='or label maps')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='class names, or a file with one per line'
    )
    parser.add_argument(
        '--reduce-zero-label',
        action=argparse.BooleanOptionalAction,
        help='label 0 is unlabelled and label k is class k - 1; default: found from the labels',
    )
    parser.add_argument(
        '--ignore-index', type=int, metavar='ID', help='ignored label; default: 255'
    )
    parser.add_argument('--batch-size', type=positive, help="images per GPU; default: the base's")
    parser.add_argument('--devices', type=positive, default=1, help='number of GPUs; default: 1')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--iters', type=positive, help="length of the run; default: the base's")
    length.add_argument('--epochs', type=positive, help='length of the run in epochs')
    parser.add_argument('--force', action='store_true', help='overwrite OUT.py')
    return parser.parse_args()


def main() -> int:
    arguments = vars(parse_arguments())
    base, out, force = (arguments.pop(name) for name in ('base', 'out', 'force'))
    length = Length(arguments.pop('iters'), arguments.pop('epochs'))
    batch_size, devices = arguments.pop('batch_size'), arguments.pop('devices')
    notices = write_custom_config(
        *(base, out, OwnData(**arguments), length),
        batch_size=batch_size,
        devices=devices,
        force=force,
    )
    print(f'written: {out}')
    for notice in notices:
        print(f'note: {notice}')
    # Checks all but the images, which check_dataset.py opens.
    checked = preflight(read_config(out), open_files=False)
    report.print_findings(checked, Console(width=None if sys.stdout.isatty() else 120))
    failing = bool(checked.findings.of('error'))
    print('after correcting the errors:' if failing else 'next:')
    print(f'  python tools/check_dataset.py {out}\n  {train_command(out, devices)}')
    return int(failing)


if __name__ == '__main__':
    with one_line_errors():
        sys.exit(main())
