import numpy as np
import pytest

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.region_names import name_regions

CLASSES = Classes(('sky', 'a rather long name'), ((10, 20, 200), (200, 20, 10)), '')


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
