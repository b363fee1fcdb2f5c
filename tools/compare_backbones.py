"""Compare costs and accuracy of ConvNeXt, Swin and ResNet in UperNet and Mask R-CNN.

Only the backbone differs. Parameters and multiply-accumulates are counted, time and memory are
measured on this machine, accuracy is as published; each column names its source. Without --no-bench
it takes minutes to an hour, depending on the size.

Example:
    python tools/compare_backbones.py --sizes T S B L --no-bench
    python tools/compare_backbones.py --sizes T --models upernet --json comparison.json
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from rich.console import Console

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.benchmark.machine import machine
from mmconvnext.analysis.benchmark.memory import MemoryMeter
from mmconvnext.command_line.measuring import (
    make_folders,
    require_at_least,
    require_device,
    watch,
)
from mmconvnext.errors import UserError, one_line_errors
from mmconvnext.files import write_json
from mmconvnext.studies.comparison.families import (
    FAMILIES,
    MODELS,
    SIZES,
    chosen,
    require_packages,
)
from mmconvnext.studies.comparison.figure import draw
from mmconvnext.studies.comparison.run import ROUNDS, Row, Settings, as_json, compare
from mmconvnext.studies.comparison.table import comparison_table, imagenet_table

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MODES = ('inference', 'training')


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', nargs='+', default=['T'], choices=SIZES,
                        help='default T; for ResNet T, S, B mean 50, 101, 152')  # fmt: skip
    parser.add_argument('--models', nargs='+', default=list(MODELS), choices=MODELS)
    parser.add_argument('--families', nargs='+', default=list(FAMILIES[:3]), choices=FAMILIES,
                        help=f'default {" ".join(FAMILIES[:3])}; convnext_plain is ConvNeXt layer '
                        'by layer')  # fmt: skip
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument('--infer', action='store_true', help='measure only inference')
    modes.add_argument('--train', action='store_true', help='measure only training steps')
    modes.add_argument('--no-bench', action='store_true', help='measure nothing; takes seconds')
    parser.add_argument('--image-size', type=image_size, metavar='SIDE|HxW',
                        help='measured image size; default 512, Mask R-CNN 800x1344')  # fmt: skip
    parser.add_argument('--batch', type=int, help='default: 2 in training, 1 in inference')
    parser.add_argument('--rounds', type=int, help=f'default: {ROUNDS[0]}, quick {ROUNDS[1]}')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, smaller images')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--no-memory', action='store_true', help='do not measure peak memory')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='file of the numbers; default OUT/comparison.json')  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('work_dirs/comparison'), metavar='FOLDER',
                        help='folder of the plot comparison.png')  # fmt: skip
    arguments = parser.parse_args()
    arguments.json = arguments.json or arguments.out / 'comparison.json'
    return arguments


def image_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r'(\d+)(?:x(\d+))?', text.lower(), re.ASCII)
    size = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if min(size) < 64:
        raise argparse.ArgumentTypeError(
            f'expected SIDE or HxW of at least 64 pixels, such as 512 or 800x1344, got {text}'
        )
    return size


def check_arguments(arguments: argparse.Namespace) -> None:
    """Check the arguments before minutes of measuring."""
    for name in ('sizes', 'models', 'families'):
        setattr(arguments, name, list(dict.fromkeys(getattr(arguments, name))))
    require_packages(arguments.models)
    require_device(arguments.device)
    require_at_least(1, {'rounds': arguments.rounds, 'batch': arguments.batch})
    if arguments.batch == 1 and 'upernet' in arguments.models and 'training' in modes_of(arguments):
        raise UserError(
            '--batch: expected 2 or more to train UperNet, whose batch norms see one pixel per '
            'image, got 1; or give --infer'
        )
    if not any(chosen(model, arguments.families, arguments.sizes) for model in arguments.models):
        raise UserError('--families resnet: has sizes T, S and B (ResNet-50, 101, 152), got L')
    make_folders(arguments.out, arguments.json)


def modes_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.no_bench:
        return ()
    return MODES[:1] if arguments.infer else MODES[1:] if arguments.train else MODES


def settings_of(arguments: argparse.Namespace) -> Settings:
    names = ('families', 'sizes', 'image_size', 'batch', 'rounds', 'quick', 'device')
    values = {name: getattr(arguments, name) for name in names}
    return Settings(**values, modes=modes_of(arguments))


def open_meter(arguments: argparse.Namespace) -> MemoryMeter | None:
    if arguments.no_memory or arguments.no_bench or arguments.device != 'cpu':
        return None
    packages = [f'{MODELS[model].package}.models' for model in arguments.models]
    return MemoryMeter(['mmconvnext.studies.comparison.cost', *packages])


def main() -> None:
    arguments = parse_arguments()
    check_arguments(arguments)
    torch.backends.cudnn.allow_tf32 = False  # float32 for all
    here = machine(arguments.device)
    settings = settings_of(arguments)
    rows: list[Row] = []
    console = Console(width=None if sys.stdout.isatty() else 200)

    def keep(found: Sequence[Row]) -> None:
        write_json(arguments.json, as_json([*rows, *found], settings, here))

    memory = open_meter(arguments)
    for model in arguments.models:
        config = Config.fromfile(CONFIGS / MODELS[model].config)
        found = compare(model, config, settings, memory, watch, keep)
        if found:
            console.print(comparison_table(found, settings.in_words(model)), highlight=False)
            sys.stdout.flush()  # the next output comes minutes later
        rows += found
    if classifiers := imagenet_table(dict.fromkeys(row.backbone.label for row in rows)):
        console.print(classifiers, highlight=False)
    console.print(f'Here: {here}; load before: {here.load}', highlight=False)
    picture = arguments.out / 'comparison.png'
    sizes = {model: settings.in_words(model) for model in arguments.models}
    draw(rows, picture, sizes, str(here) if settings.modes else '')
    keep([])
    print(f'written: {arguments.json}')
    print(f'written: {picture}')


if __name__ == '__main__':
    with one_line_errors():
        main()
