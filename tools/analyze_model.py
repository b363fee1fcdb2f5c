"""Count a config's parameters, multiply-accumulates and training memory, part by part.

No data, weights or GPU are needed, and nothing is computed.

Example:
    python tools/analyze_model.py configs/upernet_convnext_t_ade20k.py
    python tools/analyze_model.py configs/mask_rcnn_convnext_t_coco.py --shape 800 1280 --json
"""

import argparse
import json
import sys

from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.cost.model_cost import analyse
from mmconvnext.command_line import options
from mmconvnext.errors import UserError, one_line_errors


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_config_arguments(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image in pixels; by default the test scale, as in the papers '
        '(COCO: 800 1280)',
    )
    parser.add_argument('--json', action='store_true', help='print only JSON')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.shape and min(arguments.shape) < 32:
        raise UserError(f'--shape: expected at least 32 pixels a side, got {arguments.shape}')
    cost = analyse(options.load_config(arguments), arguments.config, arguments.shape)
    if arguments.json:
        print(json.dumps(cost.as_json(), indent=1, ensure_ascii=False))
    else:
        Console(width=None if sys.stdout.isatty() else 100).print(cost.render(), highlight=False)


if __name__ == '__main__':
    with one_line_errors():
        main()
