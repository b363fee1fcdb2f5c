"""Write a generated dataset from one seed, into a folder that is complete or absent."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# Second number of each image's seed, so that no image is in both splits.
_SPLITS = {'training': 0, 'validation': 1}

Generators = Iterator[np.random.Generator]
Report = Callable[[int, int], None]
Recipe = dict[str, Any]


def write_sample_set(
    root: str | Path,
    write_split: Callable[[Path, str, Generators, int], None],
    recipe: Recipe,
    report: Report | None = None,
) -> Path:
    """Write a dataset below ``root``, unless a complete one with the same recipe exists.

    The folder is written completely or not at all. ``write_split`` is called with the folder,
    ``'training'`` or ``'validation'``, a generator for each image, and the side of an image in
    pixels; ``report`` with (images written, total images). The ``recipe``, saved as
    ``recipe.json``, determines all bytes: ``training`` and ``validation`` (numbers of images),
    ``size`` (pixels), ``seed``, ``version`` of the code, and ``kind``, which is missing for the
    segmentation set.

    Raises:
        ValueError: a number of images, the size or the seed is out of range.
        FileExistsError: ``root`` contains something other than a set of this kind.
    """
    root = Path(root)
    numbers = [recipe[key] for key in ('training', 'validation', 'size', 'seed')]
    if any(number < least for number, least in zip(numbers, (1, 1, 32, 0))):
        raise ValueError(
            'samples: expected at least 1 image in each split, a size of 32 or more and a seed '
            f'of 0 or more, got {", ".join(map(str, numbers))}; choose larger numbers'
        )
    if root.exists() and _recipe_of(root, recipe) == recipe:
        return root
    unfinished = root.with_name(f'{root.name}.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, exist_ok=True)
    for split in _SPLITS:
        write_split(unfinished, split, _generators(split, recipe, report), recipe['size'])
    (unfinished / 'recipe.json').write_text(json.dumps(recipe, indent=2) + '\n')
    shutil.rmtree(root, ignore_errors=True)
    unfinished.replace(root)
    return root


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write an image, and make its folder if necessary.

    ``pixels`` are (height, width) or, in RGB, (height, width, 3) uint8; the ending sets the format.
    Raises OSError if the disk is full or the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # OpenCV expects BGR.
    if not cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels):
        raise OSError(f'{path}: the image could not be written; check free space and permissions')


def _recipe_of(root: Path, wanted: Recipe) -> Recipe:
    """Return the recipe of the set at ``root``, which must be of the wanted kind."""
    try:
        found = json.loads((root / 'recipe.json').read_text())
    except (OSError, ValueError):
        found = None
    kind = wanted.get('kind')
    if not isinstance(found, dict) or found.keys() != wanted.keys() or found.get('kind') != kind:
        raise FileExistsError(
            f'{root}: expected no folder or a {kind or "segmentation"} sample dataset, found '
            'something else; choose another folder'
        )
    return found


def _generators(split: str, recipe: Recipe, report: Report | None) -> Generators:
    """Yield a generator for each image; report an image when the next one is requested."""
    total = recipe['training'] + recipe['validation']
    before = 0 if split == 'training' else recipe['training']
    for index in range(recipe[split]):
        yield np.random.default_rng([recipe['seed'], _SPLITS[split], index])
        if report:
            report(before + index + 1, total)
