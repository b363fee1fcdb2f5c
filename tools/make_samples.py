"""Write a generated sample dataset.

Example:
    python tools/make_samples.py data/samples/segmentation
    python tools/make_samples.py data/samples/detection --kind detection
    python tools/make_samples.py data/samples/classification --kind classification
"""

import argparse

from rich.progress import Progress

from mmconvnext.data.classification_samples import write_classification_samples
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.data.samples import write_segmentation_samples
from mmconvnext.errors import UserError, one_line_errors

WRITERS = {
    'segmentation': write_segmentation_samples,
    'detection': write_detection_samples,
    'classification': write_classification_samples,
}
NUMBERS = {
    'training': 'number of training images',
    'validation': 'number of validation images',
    'size': 'side of an image in pixels',
    'seed': 'seed of the dataset',
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', help='folder of the dataset')
    parser.add_argument('--kind', choices=WRITERS, default='segmentation', help='kind of labels')
    for name, meaning in NUMBERS.items():
        defaults = ', '.join(f'{k} {(w.__kwdefaults__ or {})[name]}' for k, w in WRITERS.items())
        # Suppressed if not given, so that the default of each kind is used.
        parser.add_argument(
            f'--{name}', type=int, default=argparse.SUPPRESS, help=f'{meaning} ({defaults})'
        )
    arguments = vars(parser.parse_args())
    write = WRITERS[arguments.pop('kind')]
    with Progress() as progress:
        task = progress.add_task('images', total=None)
        try:
            root = write(
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
