import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmconvnext.data.samples import CLASSES, draw_image, write_segmentation_samples


def read(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        read(write_segmentation_samples(tmp_path / name, training=3, validation=2, seed=seed))
        for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    assert first == second
    assert first.keys() == other.keys()
    assert first != other


def test_layout_is_ade20k_s(samples: Path) -> None:
    for split, count in (('training', 8), ('validation', 4)):
        images = sorted((samples / 'images' / split).glob('*.jpg'))
        labels = sorted((samples / 'annotations' / split).glob('*.png'))
        assert [p.stem for p in images] == [p.stem for p in labels]
        assert len(images) == count
        label = cv2.imread(str(labels[0]), cv2.IMREAD_UNCHANGED)
        assert label.shape == (64, 64)
        assert label.dtype == np.uint8
        assert label.max() <= len(CLASSES)
        assert (label[0] == 0).all(), 'the border is ignored'


def test_splits_have_no_picture_in_common(samples: Path) -> None:
    contents = [p.read_bytes() for p in samples.rglob('*.jpg')]
    assert len(set(contents)) == len(contents) == 12


def test_a_constant_answer_scores_below_a_fifth() -> None:
    labels = np.stack([draw_image(np.random.default_rng(i), 96)[1] for i in range(50)])
    valid = labels[labels > 0]
    best = max((valid == 1 + c).mean() for c in range(len(CLASSES)))
    assert best / len(CLASSES) < 0.2
    assert set(np.unique(valid)) == set(range(1, len(CLASSES) + 1))


@pytest.mark.parametrize('pair', [('circle', 'ring'), ('square', 'cross')])
def test_two_pairs_share_their_colours(pair: tuple[str, str]) -> None:
    hues = {name: [] for name in pair}
    for seed in range(150):
        image, labels = draw_image(np.random.default_rng(seed), 96)
        hue = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)[..., 0] * (360 / 256)
        for name in pair:
            hues[name].append(hue[labels == 1 + CLASSES.index(name)])
    first, second = (np.median(np.concatenate(hues[name])) for name in pair)
    assert abs(first - second) < 6


def test_a_complete_set_is_left_as_it_is(tmp_path: Path) -> None:
    root = write_segmentation_samples(tmp_path / 'a', training=2, validation=1)
    picture = next(root.rglob('*.jpg'))
    stamp = picture.stat().st_mtime_ns
    write_segmentation_samples(root, training=2, validation=1)
    assert picture.stat().st_mtime_ns == stamp
    write_segmentation_samples(root, training=1, validation=1)
    assert json.loads((root / 'recipe.json').read_text())['training'] == 1
    assert not (tmp_path / 'a.unfinished').exists()


def test_somebody_else_s_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(FileExistsError, match='choose another folder'):
        write_segmentation_samples(tmp_path, training=1, validation=1)
    assert (tmp_path / 'thesis.txt').read_text() == 'years of work'


@pytest.mark.parametrize('wrong', [dict(training=0), dict(validation=0), dict(size=8)])
def test_impossible_numbers_get_an_answer(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match='expected at least 1 image'):
        write_segmentation_samples(tmp_path / 'a', **wrong)
