"""Unpack COCO 2017's official archives into the layout of the configs, and count their files.

They are train2017.zip, val2017.zip and annotations_trainval2017.zip. Archives in the data root are
found automatically. For missing archives their address, their size and where to put them are
printed. Files that exist are not unpacked again. The exit code is 0 if all 118,287 + 5,000 images
and their annotations exist, else 1.

Example:
    python tools/prepare_coco.py train2017.zip val2017.zip annotations_trainval2017.zip
    python tools/prepare_coco.py --download
"""

import argparse
import sys
from pathlib import Path

from mmconvnext.data.official import COCO
from mmconvnext.data.prepare import prepare
from mmconvnext.errors import one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('archives', nargs='*', type=Path, help='zip files, all or some of them')
    parser.add_argument(
        '--data-root', type=Path, default=Path('data/coco'), help='folder to unpack in (data/coco)'
    )
    parser.add_argument(
        '--download', action='store_true', help='download missing archives first, 20.4 GB in all'
    )
    arguments = parser.parse_args()
    if not prepare(COCO, arguments.data_root, arguments.archives, fetch=arguments.download):
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors():
        main()
