"""Write the generated sample data set.

Example:
    python tools/make_samples.py data/samples/segmentation
"""

import argparse

from rich.progress import Progress

from mmconvnext.data.samples import write_segmentation_samples
from mmconvnext.errors import UserError, one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', help='folder of the data set')
    parser.add_argument('--training', type=int, default=1000, help='pictures to train on')
    parser.add_argument('--validation', type=int, default=50, help='pictures held out')
    parser.add_argument('--size', type=int, default=96, help='side of a picture, pixels')
    parser.add_argument('--seed', type=int, default=0, help='seed of the whole set')
    arguments = vars(parser.parse_args())
    with Progress() as progress:
        task = progress.add_task('pictures', total=None)
        try:
            root = write_segmentation_samples(
                arguments.pop('root'),
                **arguments,
                report=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except (ValueError, OSError) as error:
            raise UserError(str(error)) from error
    print(f'samples: {root}')


if __name__ == '__main__':
    with one_line_errors():
        main()
