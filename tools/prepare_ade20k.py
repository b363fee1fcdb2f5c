"""Unpack ADE20K's official archive to the layout the configs expect, and count its files.

Without ARCHIVE, the one in the data root is taken; where there is none, the answer is its address,
its size and where to put it. What is unpacked already is left as it is. Exits with 0 where all
20,210 + 2,000 images and their labels are there, and with 1 otherwise.

Example:
    python tools/prepare_ade20k.py ADEChallengeData2016.zip
    python tools/prepare_ade20k.py --download
"""

import argparse
import sys
from pathlib import Path

from mmconvnext.data.official import ADE20K
from mmconvnext.data.prepare import prepare
from mmconvnext.errors import one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('archive', nargs='?', type=Path, help='ADEChallengeData2016.zip')
    parser.add_argument(
        '--data-root', type=Path, default=Path('data/ade'), help='folder to unpack in (data/ade)'
    )
    parser.add_argument(
        '--download', action='store_true', help='fetch the archive first, about 967 MB'
    )
    arguments = parser.parse_args()
    archives = [arguments.archive] if arguments.archive else []
    if not prepare(ADE20K, arguments.data_root, archives, fetch=arguments.download):
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors():
        main()
