from pathlib import Path

import cv2
import numpy as np
import pytest

from mmconvnext.data.classification_samples import (
    CLASSES,
    draw_image,
    write_classification_samples,
)
from tests.data.test_samples import read


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        read(write_classification_samples(tmp_path / name, training=6, validation=5, seed=seed))
        for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    assert first == second
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_layout_is_imagenet_s(tmp_path: Path) -> None:
    root = write_classification_samples(tmp_path / 'a', training=12, validation=5, size=48)
    for split, counts in (('train', [3, 3, 2, 2, 2]), ('val', [1] * 5)):
        folders = sorted(folder.name for folder in (root / split).iterdir())
        assert folders == sorted(CLASSES) == list(CLASSES)
        files = [[*(root / split / folder).iterdir()] for folder in folders]
        assert [len(names) for names in files] == counts
        shapes = {cv2.imread(str(file)).shape for names in files for file in names}
        assert shapes == {(48, 48, 3)}


def test_colour_alone_does_not_tell() -> None:
    """Mean hues of the saturated pixels: the same of a circle and a ring, and others of others."""

    def hue(name: str) -> float:
        hues = []
        for seed in range(20):
            image = draw_image(np.random.default_rng(seed), 64, name)
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).reshape(-1, 3)
            hues.append(np.median(hsv[hsv[:, 1] > 130, 0]))
        return float(np.median(hues))

    assert hue('circle') == pytest.approx(hue('ring'), abs=4)
    assert abs(hue('cross') - hue('square')) > 30
    assert abs(hue('circle') - hue('square')) > 30


@pytest.mark.parametrize('counts', [(4, 5), (5, 4)])
def test_every_class_is_in_every_split(counts: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='expected at least 5 images in each split'):
        write_classification_samples(tmp_path / 'a', training=counts[0], validation=counts[1])
