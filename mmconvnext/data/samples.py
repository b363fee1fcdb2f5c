"""A seeded miniature data set in ADE20K's layout, to try the whole chain in minutes on a CPU.

Pictures show three to five shapes with colour noise, clutter and occlusion over a muted gradient.
Circles and rings share their colours, as do squares and crosses: these pairs differ by shape
alone. Layout, as ADE20K's::

    ROOT/images/{training,validation}/NAME.jpg       uint8 RGB
    ROOT/annotations/{training,validation}/NAME.png  uint8, 0 = ignored, k = class k − 1
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

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
_HUE_SIGMA = 8.0
_NOISE = 12.0  # standard deviation of the pixel noise, grey levels
_CLUTTER = 10
_IGNORED_BORDER = 1  # pixels at a picture's edge marked 0, as ADE20K leaves some unlabelled

_SPLITS = {'training': 0, 'validation': 1}


def write_segmentation_samples(
    root: str | Path,
    *,
    training: int = 1000,
    validation: int = 50,
    size: int = 96,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the data set below ``root``; a complete one made the same way is left as it is.

    The splits draw from different seeds. The folder appears complete or not at all.

    Args:
        root: Folder of the data set.
        training: Pictures to train on.
        validation: Pictures held out.
        size: Side of a picture in pixels.
        seed: Seed of the whole set; the same arguments give the same bytes.
        report: Called with (pictures written, pictures in all).

    Raises:
        ValueError: a number of pictures or the size is impossible.
        FileExistsError: ``root`` holds something that this function did not write.
    """
    if min(training, validation) < 1 or size < 32:
        raise ValueError(
            f'samples: expected at least 1 picture in each split and a size of 32 or more, got '
            f'{training}, {validation} and {size}'
        )
    root = Path(root)
    counts = {'training': training, 'validation': validation}
    recipe = {'version': 1, **counts, 'size': size, 'seed': seed}
    if root.exists():
        if not (root / 'recipe.json').is_file():
            raise FileExistsError(
                f'{root}: expected an empty place or a sample data set, found something else; '
                'choose another folder'
            )
        if json.loads((root / 'recipe.json').read_text()) == recipe:
            return root
    unfinished = root.with_name(f'{root.name}.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    written = 0
    for split, count in counts.items():
        for name, image, labels in _pictures(split, count, size, seed):
            _write_pair(unfinished, split, name, image, labels)
            written += 1
            if report:
                report(written, sum(counts.values()))
    (unfinished / 'recipe.json').write_text(json.dumps(recipe, indent=2) + '\n')
    shutil.rmtree(root, ignore_errors=True)
    unfinished.replace(root)
    return root


def _pictures(
    split: str, count: int, size: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for index in range(count):
        generator = np.random.default_rng([seed, _SPLITS[split], index])
        yield f'{split}_{index:04d}', *draw_picture(generator, size)


def _write_pair(root: Path, split: str, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    files = {'images': (f'{name}.jpg', image[..., ::-1]), 'annotations': (f'{name}.png', labels)}
    for kind, (file, pixels) in files.items():
        folder = root / kind / split
        folder.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(folder / file), pixels):
            raise OSError(f'{folder / file}: could not be written')


def draw_picture(generator: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One picture and its labels.

    Returns:
        ((size, size, 3) uint8 RGB, (size, size) uint8: 0 = ignored, k = class k − 1).
    """
    image = _gradient(generator, size)
    labels = np.ones((size, size), np.uint8)
    for _ in range(_CLUTTER):
        _draw_clutter(generator, image)
    for _ in range(generator.integers(3, 6)):
        name = CLASSES[generator.integers(1, len(CLASSES))]
        mask = _shape(generator, name, size)
        image[mask] = _fill(generator, _HUES[name])
        labels[mask] = 1 + CLASSES.index(name)
    image = image + generator.normal(0, _NOISE, image.shape)
    labels[:_IGNORED_BORDER] = labels[-_IGNORED_BORDER:] = 0
    labels[:, :_IGNORED_BORDER] = labels[:, -_IGNORED_BORDER:] = 0
    return np.clip(image, 0, 255).astype(np.uint8), labels


def _gradient(generator: np.random.Generator, size: int) -> np.ndarray:
    corners = generator.uniform(70, 170, (2, 2, 3)).astype(np.float32)
    return cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)


def _draw_clutter(generator: np.random.Generator, image: np.ndarray) -> None:
    colour = generator.uniform(30, 225, 3).tolist()
    start, end = generator.integers(0, len(image), (2, 2)).tolist()
    if generator.random() < 0.5:
        cv2.line(image, start, end, colour, 1)
    else:
        cv2.circle(image, start, int(generator.integers(1, 3)), colour, -1)


def _fill(generator: np.random.Generator, hue: float) -> np.ndarray:
    hsv = [
        (hue + generator.normal(0, _HUE_SIGMA)) % 360,
        generator.uniform(0.55, 0.95),
        generator.uniform(0.6, 1.0),
    ]
    return 255 * cv2.cvtColor(np.float32([[hsv]]), cv2.COLOR_HSV2RGB)[0, 0]


def _shape(generator: np.random.Generator, name: str, size: int) -> np.ndarray:
    """Mask of one shape, two sevenths to half of the picture wide, anywhere and at any angle."""
    radius = generator.uniform(size / 7, size / 4)
    centre = generator.uniform(radius * 0.6, size - radius * 0.6, 2)
    angle = generator.uniform(0, 2 * np.pi)
    mask = np.zeros((size, size), np.uint8)
    if name in ('circle', 'ring'):
        at = tuple(int(value) for value in centre)
        cv2.circle(mask, at, int(radius), 1, -1)
        if name == 'ring':
            cv2.circle(mask, at, int(radius * 0.55), 0, -1)
    else:
        corners = _OUTLINES[name] @ _rotation(angle) * radius + centre
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


# Corners of each polygon for radius 1.
_ARM = 0.25
_OUTLINES = {
    'square': np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
    'triangle': np.array([(np.cos(a), np.sin(a)) for a in np.radians((90, 210, 330))]) * 1.15,
    'cross': np.array(
        [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)]
        + [(_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)]
    ),
}
