import numpy as np
import pytest

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.labels import compare_labels, name_regions, overlay

PALETTE = [(255, 0, 0), (0, 0, 255)]
CLASSES = Classes(('sky', 'a rather long name'), ((10, 20, 200), (200, 20, 10)), '')


def test_overlay_mixes_palette_and_picture() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    labels = np.array([[0, 1, 255]])
    red, blue, ignored = overlay(image, labels, PALETTE, opacity=0.5)[0].tolist()
    assert red == [50, 50, 178]  # BGR; (255 + 100) / 2, rounded
    assert blue == [178, 50, 50]
    assert ignored == [178, 178, 178]


def test_compare_enlarges_small_pictures_and_names_the_classes() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    labels = np.zeros((64, 64), int)
    titled = {'ground truth': labels, 'prediction': labels + 1}
    one_line = compare_labels(image, titled, ('left', 'right'), PALETTE, 0.7)
    assert one_line.shape == (24 + 256 + 24, 3 * 256 + 2 * 8, 3)
    legend = one_line[-24:]
    assert (legend == (0, 0, 255)).all(-1).any()
    assert (legend == (255, 0, 0)).all(-1).any()
    names = tuple(f'a class with a long name {i}' for i in range(9))
    many = {'prediction': np.arange(64 * 64).reshape(64, 64) % 9}
    assert len(compare_labels(image, many, names, PALETTE * 5, 0.7)) > 24 + 256 + 24


@pytest.mark.parametrize(('size', 'factor'), [(300, 1), (30, 10), (3000, 1)])
def test_a_name_is_within_its_region(size, factor) -> None:
    labels = np.zeros((size, size), int)
    labels[size // 2 :] = 1
    canvas = np.zeros((size * factor, size * factor, 3), np.uint8)
    name_regions(canvas, labels, [0, 1], CLASSES, factor, size * factor / 300)
    halves = canvas[: len(canvas) // 2], canvas[len(canvas) // 2 :]
    for half, own, other in zip(halves, CLASSES.colours, CLASSES.colours[::-1]):
        assert (half == own[::-1]).all(-1).any()
        assert not (half == other[::-1]).all(-1).any()


def test_a_region_without_room_for_its_name_has_none() -> None:
    labels = np.zeros((300, 300), int)
    labels[:, 200:205] = 1
    canvas = np.zeros((300, 300, 3), np.uint8)
    name_regions(canvas, labels, [0, 1], CLASSES, 1, 1.0)
    drawn = {tuple(c[::-1]) for c in canvas.reshape(-1, 3).tolist()}
    assert CLASSES.colours[0] in drawn
    assert CLASSES.colours[1] not in drawn
