"""Unpack ADE20K's official archive into the layout of the configs, and count its files.

Without ARCHIVE, the archive in the data root is used. If it is missing, its address, its size and
where to put it are printed. Files that exist are not unpacked again. The exit code is 0 if all
20,210 + 2,000 images and their label maps exist, else 1.

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
        '--download', action='store_true', help='download the archive first, about 967 MB'
    )
    arguments = parser.parse_args()
    archives = [arguments.archive] if arguments.archive else []
    if not prepare(ADE20K, arguments.data_root, archives, fetch=arguments.download):
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors():
        main()
