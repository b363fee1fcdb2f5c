"""The frame of a generated dataset: a folder that is complete or absent, drawn from one seed."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# Second word of each image's seed, so that no image is in both splits.
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
    """Write a dataset below ``root``; a complete one of the same recipe is left as it is.

    The folder appears complete or not at all. ``write_split`` is called with it, with
    ``'training'`` or ``'validation'``, a generator for each image, and the side of an image in
    pixels; ``report`` with (images written, images in all). The ``recipe`` is all that the
    bytes depend on, kept as ``recipe.json``: ``training`` and ``validation`` (numbers of
    images), ``size`` (pixels), ``seed``, ``version`` of the code, and ``kind``, which the
    segmentation set, being the oldest, lacks.

    Raises:
        ValueError: a number of images, the size or the seed is impossible.
        FileExistsError: ``root`` holds something other than a set of this kind.
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
    """Write an image, and its folder where that is missing.

    ``pixels`` are (height, width) or, RGB, (height, width, 3) uint8; the ending tells the format.
    Raises OSError where the disk is full or the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # OpenCV takes BGR.
    if not cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels):
        raise OSError(
            f'{path}: expected to write an image, got a refusal; look at free space and rights'
        )


def _recipe_of(root: Path, wanted: Recipe) -> Recipe:
    """The recipe of the set at ``root``, which has to be of the wanted one's kind."""
    try:
        found = json.loads((root / 'recipe.json').read_text())
    except (OSError, ValueError):
        found = None
    kind = wanted.get('kind')
    if not isinstance(found, dict) or found.keys() != wanted.keys() or found.get('kind') != kind:
        raise FileExistsError(
            f'{root}: expected an empty place or a {kind or "segmentation"} sample dataset, found '
            'something else; choose another folder'
        )
    return found


def _generators(split: str, recipe: Recipe, report: Report | None) -> Generators:
    """One for each image; an image counts as written when the next one is asked for."""
    total = recipe['training'] + recipe['validation']
    before = 0 if split == 'training' else recipe['training']
    for index in range(recipe[split]):
        yield np.random.default_rng([recipe['seed'], _SPLITS[split], index])
        if report:
            report(before + index + 1, total)
