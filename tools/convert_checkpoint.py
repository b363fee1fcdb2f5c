"""Convert a ConvNeXt checkpoint of any family to another family's names and shapes.

Example:
    python tools/convert_checkpoint.py convnext_tiny_1k_224.pth tiny.safetensors --to timm
"""

import argparse

from mmconvnext.checkpoints.description import describe_size
from mmconvnext.checkpoints.write import TARGETS, convert_checkpoint
from mmconvnext.errors import one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='file, URL or hf://OWNER/REPOSITORY/FILE')
    parser.add_argument('destination', help='.pth, .pt, .bin or .safetensors file to write')
    parser.add_argument(
        '--to',
        choices=TARGETS,
        default='official',
        help="family to write (timm: as timm's plain model of that size)",
    )
    parser.add_argument('--family', choices=TARGETS, help="source's family; default: recognised")
    parser.add_argument('--ema', action='store_true', help='use the weights averaged in training')
    parser.add_argument('--force', action='store_true', help='replace an existing destination')
    parser.add_argument('--report', action='store_true', help='list every tensor not converted')
    arguments = parser.parse_args()
    recognised = convert_checkpoint(
        arguments.source,
        arguments.destination,
        to=arguments.to,
        family=arguments.family,
        ema=arguments.ema,
        force=arguments.force,
    )
    aside = [*recognised.aside, *recognised.outside]
    print(
        f'{recognised.format.name} ({describe_size(recognised.state)}) → {arguments.to}: '
        f'{len(recognised.state)} tensors in {arguments.destination}; left aside: {len(aside)}'
    )
    if arguments.report:
        print(*aside, sep='\n')


if __name__ == '__main__':
    with one_line_errors():
        main()
