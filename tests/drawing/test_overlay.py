import numpy as np
import pytest

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.instances import Instances
from mmconvnext.drawing.overlay import instance_overlay, label_overlay, viewable
from mmconvnext.drawing.panels import entry_width

LINE = 24  # height of a line of the legend at scale 1
MANY = Classes(
    tuple(f'class number {i}' for i in range(150)),
    tuple((100 + i % 150, 2 * i % 256, 250 - i) for i in range(150)),
    '',
)


def colours_in(picture: np.ndarray) -> set[tuple[int, int, int]]:
    """RGB."""
    return {tuple(reversed(c)) for c in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


def test_the_legend_names_the_classes_present_the_largest_first() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    labels = np.full((300, 400), 7)
    labels[:10] = 3
    drawn = label_overlay(image, labels, MANY, 0.5)
    assert drawn.shape == (300 + LINE, 400, 3)
    legend = drawn[-LINE:]
    assert MANY.colours[7] in colours_in(legend[:, : entry_width(MANY.names[7])])
    assert MANY.colours[3] in colours_in(legend[:, entry_width(MANY.names[7]) :])
    assert not colours_in(legend) & {MANY.colours[5]}


def test_150_classes_are_all_in_the_legend_and_none_is_cut() -> None:
    labels = np.arange(300 * 400).reshape(300, 400) % 150
    drawn = label_overlay(np.zeros((300, 400, 3), np.uint8), labels, MANY, 0.5)
    assert set(MANY.colours) <= colours_in(drawn[300:])
    assert (drawn[300:, -3:] == 255).all(), 'nothing runs into the border'


@pytest.mark.parametrize('shape', [(30, 40), (3000, 9), (2, 9000), (1, 1)])
def test_small_and_narrow_pictures_have_whole_names(shape) -> None:
    drawn = label_overlay(np.zeros((*shape, 3), np.uint8), np.full(shape, 100), MANY, 0.5)
    assert drawn.shape[1] >= entry_width(MANY.names[100])
    assert max(drawn.shape) <= max(4096 + LINE, *shape) + 200
    if shape == (30, 40):
        assert drawn.shape == (9 * 30 + LINE, 9 * 40, 3)


def test_text_grows_with_the_picture() -> None:
    shape = (2448, 3264)
    drawn = label_overlay(np.zeros((*shape, 3), np.uint8), np.zeros(shape, int), MANY, 0.5)
    scale = (2448 * 3264) ** 0.5 / 700
    assert len(drawn) - 2448 == round(LINE * scale)


def test_classes_beyond_255_have_their_colours() -> None:
    classes = Classes(
        tuple(map(str, range(300))), tuple((i % 256, i // 256, 9) for i in range(300)), ''
    )
    labels = np.full((300, 300), 299)
    drawn = label_overlay(np.zeros((300, 300, 3), np.uint8), labels, classes, 1.0)
    assert drawn[5, 5].tolist() == [9, 1, 43]


@pytest.mark.parametrize('number', [1, 4, 150])
def test_a_legend_of_so_many_lines_gives_pictures_of_one_size(number) -> None:
    labels = np.arange(300 * 400).reshape(300, 400) % number
    image = np.zeros((300, 400, 3), np.uint8)
    drawn = label_overlay(image, labels, MANY, 0.5, lines=3)
    assert drawn.shape == (300 + 3 * LINE, 400, 3)
    shown = set(MANY.colours[:number]) & colours_in(drawn[300:])
    assert len(shown) == min(number, 8), 'three in each line, the last of them "+ 142 more"'


def test_instances_have_a_legend_of_their_classes() -> None:
    boxes = np.array([[10, 10, 60, 60], [80, 80, 200, 200.0]])
    found = Instances(boxes, np.array([2, 9]), np.array([0.9, 0.4]))
    drawn = instance_overlay(np.zeros((300, 400, 3), np.uint8), found, MANY, 0.5)
    assert drawn.shape == (300 + LINE, 400, 3)
    assert {MANY.colours[2], MANY.colours[9]} <= colours_in(drawn[300:])
    nothing = Instances(np.empty((0, 4)), np.empty(0, int), np.empty(0))
    drawn = instance_overlay(np.zeros((300, 400, 3), np.uint8), nothing, MANY, 0.5)
    assert drawn.shape == (300, 400, 3)


@pytest.mark.parametrize(
    ('image', 'value'),
    [
        (np.full((2, 3), 7, np.uint8), 7),
        (np.full((2, 3, 1), 7, np.uint8), 7),
        (np.full((2, 3, 2), 7, np.uint8), 7),
        (np.full((2, 3, 5), 7, np.uint8), 7),
        (np.full((2, 3), 7 * 257, np.uint16), 7),
        (np.full((2, 3, 3), 0.5, np.float32), 127),
        (np.full((2, 3, 3), 200, np.float32), 200),
    ],
)
def test_what_a_pipeline_loads_can_be_drawn_on(image, value) -> None:
    shown = viewable(image)
    assert shown.shape == (2, 3, 3)
    assert shown.dtype == np.uint8
    assert (shown == value).all()
