"""A seeded miniature dataset in ADE20K's layout, to try the whole chain in minutes on a CPU.

Images show three to five shapes with colour noise, clutter and occlusion over a muted gradient.
Circles and rings share their colours, as do squares and crosses: these pairs differ by shape
alone. Layout, as ADE20K's::

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

# Hue in degrees of each shape's fill; equal hues leave the outline as the only difference.
_HUES = {'circle': 15, 'ring': 15, 'square': 210, 'cross': 210, 'triangle': 110}
_IGNORED_BORDER = 1  # pixels at an image's edge marked 0, as ADE20K leaves some unlabelled


def write_segmentation_samples(
    root: str | Path,
    *,
    training: int = 1000,
    validation: int = 50,
    size: int = 96,
    seed: int = 0,
    report: Report | None = None,
) -> Path:
    """Write the dataset below ``root``; a complete one made the same way is left as it is.

    The splits draw from different seeds. The folder appears complete or not at all.

    Args:
        root: Folder of the dataset.
        training: Images to train on.
        validation: Images held out.
        size: Side of an image in pixels.
        seed: Seed of the whole set; the same arguments give the same bytes.
        report: Called with (images written, images in all).

    Raises:
        ValueError: a number of images, the size or the seed is impossible.
        FileExistsError: ``root`` holds something that this function did not write.
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
    """(size, size, 3) uint8 RGB, and labels, (size, size) uint8: 0 = ignored, k = class k - 1.

    Shapes are two sevenths to half of the image wide.
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
