"""A generated miniature dataset in ImageNet's layout, to train a classifier in minutes on a CPU.

Each image shows one shape with clutter over a muted and noisy gradient. Circles and rings have the
same colours: by colour alone, at most four of five images can be classified correctly.
Layout, as ImageNet's::

    ROOT/{train,val}/CLASS/NAME.jpg   uint8 RGB
"""

from pathlib import Path

import numpy as np

from mmconvnext.data.sample_set import Generators, Report, write_image, write_sample_set
from mmconvnext.data.shapes import draw_background, paint_shape, with_noise

CLASSES = ('circle', 'cross', 'ring', 'square', 'triangle')  # sorted, as the folders will be

# In degrees.
_HUES = {'circle': 15, 'ring': 15, 'square': 210, 'cross': 290, 'triangle': 110}
_CLUTTER = 3  # lines and dots; the same density as in the larger images of the other sets
_FOLDERS = {'training': 'train', 'validation': 'val'}


def write_classification_samples(
    root: str | Path,
    *,
    training: int = 2000,
    validation: int = 200,
    size: int = 48,
    seed: int = 0,
    report: Report | None = None,
) -> Path:
    """Write the dataset below ``root``; numbers of images per class differ by at most one.

    Arguments and errors are those of :func:`~mmconvnext.data.samples.write_segmentation_samples`.
    """
    if min(training, validation) < len(CLASSES):
        raise ValueError(
            f'samples: expected at least {len(CLASSES)} images in each split, one per class, got '
            f'{training} and {validation}; choose larger numbers'
        )
    counts = {'training': training, 'validation': validation}
    recipe = {'version': 1, 'kind': 'classification', **counts, 'size': size, 'seed': seed}
    return write_sample_set(root, _write_split, recipe, report)


def draw_image(generator: np.random.Generator, size: int, name: str) -> np.ndarray:
    """Return (size, size, 3) uint8 RGB with a shape that covers 3/5 to 4/5 of the width."""
    image = draw_background(generator, size, clutter=_CLUTTER)
    radius = generator.uniform(0.3 * size, 0.42 * size)
    paint_shape(generator, image, name, radius=radius, hue=_HUES[name])
    return with_noise(generator, image)


def _write_split(root: Path, split: str, generators: Generators, size: int) -> None:
    for index, generator in enumerate(generators):
        name = CLASSES[index % len(CLASSES)]
        folder = root / _FOLDERS[split] / name
        write_image(folder / f'{index:05d}.jpg', draw_image(generator, size, name))
