"""Segment or detect what is in images and videos: overlays, label maps, COCO json.

Images are given as files, folders (including subfolders) and quoted globs, videos as files and
globs. The results in --out are:

  pictures/NAME.png   the image under its labels or detections, with a legend; a video as .mp4
  labels/NAME.png     segmentation: ids as in the dataset's annotations and in tools/test.py --out
                      (the first class is 1 with reduce_zero_label, else 0), with 8 bits, or 16
                      bits if an id is above 255; frames of a video in NAME.frames/
  predictions.json    detection: COCO's images, categories and annotations with scores

NAME is the file's path below the given folder. Unreadable inputs are listed at the end, after all
other results are written, and the exit code is 1.

Example:
    python tools/infer.py configs/upernet_convnext_t_ade20k.py iter_160000.pth photos/ --out found
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.command_line import options
from mmconvnext.errors import one_line_errors
from mmconvnext.files import make_folder
from mmconvnext.inference.inputs import find_inputs
from mmconvnext.inference.model import load_predictor
from mmconvnext.inference.progress import InputProgress
from mmconvnext.inference.results import open_results
from mmconvnext.inference.run import Unreadable, run
from mmconvnext.inference.summary import summary, table

# The entries of a config that are used here.
_READ = ('model', 'test_dataloader', 'default_scope')


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_config_arguments(parser)
    options.add_config_check_argument(parser)
    parser.add_argument('checkpoint', help='checkpoint file, URL or hf://OWNER/REPOSITORY/FILE')
    parser.add_argument(
        'inputs', nargs='+', metavar='images', help='images, folders, globs, videos'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/infer'),
        metavar='DIR',
        help='folder of the results; default: work_dirs/infer',
    )
    parser.add_argument('--device', help="such as cpu or cuda:1; default: this machine's best")
    parser.add_argument(
        '--score-thr',
        type=_share,
        default=0.3,
        metavar='SHARE',
        help='minimal score of detections, 0 to 1; default: 0.3; values below the '
        "config's score_thr have no effect",
    )
    parser.add_argument(
        '--opacity',
        type=_share,
        default=0.5,
        metavar='SHARE',
        help='opacity of the class colours, 0 to 1; default: 0.5',
    )
    parser.add_argument('--json', action='store_true', help='print a summary as JSON')
    return parser.parse_intermixed_args()


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'expected a number from 0 to 1, got {text}')
    return value


def list_unreadable(unreadable: Sequence[Unreadable], number: int) -> None:
    for one in unreadable:
        print(f'not read: {one.path}: {one.reason}', file=sys.stderr)
    if unreadable:
        sys.exit(f'error: {len(unreadable)} of {number} not read; all others are written')


def main() -> None:
    arguments = parse_arguments()
    options.force_safe_loading()
    config = options.load_config(arguments, _READ)
    inputs = find_inputs(arguments.inputs, leave_out=arguments.out)
    predictor = load_predictor(config, arguments.checkpoint, arguments.device, arguments.score_thr)
    make_folder('--out', arguments.out)
    with (
        open_results(
            predictor, config, arguments.out, arguments.score_thr, arguments.opacity
        ) as results,
        InputProgress(len(inputs)) as progress,
    ):
        outcomes, unreadable = run(
            predictor, inputs, results, arguments.out, progress.advance_input
        )
    if arguments.json:
        found = summary(outcomes, unreadable, results, arguments.out, arguments.checkpoint)
        print(json.dumps(found, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table(outcomes, results))
        print(f'written: {arguments.out}')
    list_unreadable(unreadable, len(inputs))


if __name__ == '__main__':
    with one_line_errors():
        main()
