"""A generated miniature dataset in ADE20K's layout, to try segmentation in minutes on a CPU.

Images show three to five shapes with colour noise, clutter and occlusion over a muted gradient.
Circles and rings have the same colours, and so do squares and crosses: these pairs differ only in
shape. The layout is ADE20K's::

    ROOT/images/{training,validation}/NAME.jpg       uint8 RGB
    ROOT/annotations/{training,validation}/NAME.png  uint8, 0 = ignored, k = class k - 1
"""

from pathlib import Path

import numpy as np

from mmconvnext.data.sample_set import Generators, Report, write_image, write_sample_set
from mmconvnext.data.shapes import draw_background, paint_shape, with_noise

CLASSES = ('background', 'circle', 'square', 'triangle', 'cross', 'ring')
PALETTE = (
    (90, 90, 90),
    (230, 25, 75),
    (255, 160, 20),
    (60, 140, 255),
    (30, 200, 120),
    (170, 60, 220),
)

# Hue in degrees of each shape's fill; shapes with equal hues differ only in their outline.
_HUES = {'circle': 15, 'ring': 15, 'square': 210, 'cross': 210, 'triangle': 110}
_IGNORED_BORDER = 1  # pixels at an image's edge labelled 0: ADE20K has unlabelled pixels too


def write_segmentation_samples(
    root: str | Path,
    *,
    training: int = 1000,
    validation: int = 50,
    size: int = 96,
    seed: int = 0,
    report: Report | None = None,
) -> Path:
    """Write the dataset below ``root``, unless a complete one with the same arguments exists.

    The splits use different seeds. The folder is written completely or not at all.

    Args:
        root: Folder of the dataset.
        training: Number of training images.
        validation: Number of validation images.
        size: Side of an image in pixels.
        seed: Seed of the whole set; the same arguments give the same bytes.
        report: Called with (images written, total images).

    Raises:
        ValueError: a number of images, the size or the seed is out of range.
        FileExistsError: ``root`` contains something that this function did not write.
    """
    counts = {'training': training, 'validation': validation}
    recipe = {'version': 1, **counts, 'size': size, 'seed': seed}
    return write_sample_set(root, _write_split, recipe, report)


def _write_split(root: Path, split: str, generators: Generators, size: int) -> None:
    for index, generator in enumerate(generators):
        image, labels = draw_image(generator, size)
        name = f'{split}_{index:04d}'
        write_image(root / 'images' / split / f'{name}.jpg', image)
        write_image(root / 'annotations' / split / f'{name}.png', labels)


def draw_image(generator: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (size, size, 3) uint8 RGB and (size, size) uint8 labels: 0 ignored, k = class k - 1.

    The width of shapes is between two sevenths and half of the image's width.
    """
    image = draw_background(generator, size)
    labels = np.ones((size, size), np.uint8)
    for _ in range(generator.integers(3, 6)):
        name = CLASSES[generator.integers(1, len(CLASSES))]
        radius = generator.uniform(size / 7, size / 4)
        mask = paint_shape(generator, image, name, radius=radius, hue=_HUES[name])
        labels[mask] = 1 + CLASSES.index(name)
    labels[:_IGNORED_BORDER] = labels[-_IGNORED_BORDER:] = 0
    labels[:, :_IGNORED_BORDER] = labels[:, -_IGNORED_BORDER:] = 0
    return with_noise(generator, image), labels
