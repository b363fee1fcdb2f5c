import numpy as np
import pytest

from mmconvnext.drawing import instances
from mmconvnext.drawing.classes import class_colour
from mmconvnext.drawing.instances import Instances, draw_instances, place_label

PALETTE = [(255, 0, 0), (0, 0, 250)]  # RGB
RED, BLUE = [0, 0, 255], [250, 0, 0]  # BGR
CLASSES = ('apple', 'sky')
NOTHING = np.empty((0, 4))


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def masks_of(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    masks = np.zeros((len(boxes), height, width), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int)):
        mask[top:bottom, left:right] = True
    return masks


def test_colours_at_known_pixels() -> None:
    boxes = np.array([[50.0, 100, 150, 200]])
    masks = masks_of(np.array([[60, 110, 140, 190]]), 300, 400)
    shown = Instances(boxes, np.array([1]), np.array([0.97]), masks)
    drawn = draw_instances(grey(300, 400), shown, CLASSES, PALETTE, 0.5)
    assert drawn.shape == (300, 400, 3)
    assert drawn[150, 100].tolist() == [175, 50, 50]  # (250 + 100) / 2, (0 + 100) / 2
    assert drawn[150, 55].tolist() == [100, 100, 100], 'in the box, beside the mask'
    for pixel in ((100, 149), (199, 149), (199, 50), (150, 50), (150, 149)):
        assert drawn[pixel].tolist() == BLUE, pixel
    assert drawn[150, 60].tolist() not in ([175, 50, 50], [100, 100, 100]), 'no outline'
    assert (drawn[:, 250:] == 100).all()
    label = drawn[75:99, 50:150].reshape(-1, 3)
    assert (label == BLUE).all(1).any(), 'no label above the box'
    assert (label.min(1) > 200).any(), 'white is to be read on blue'


def test_lines_are_not_enlarged_with_the_picture() -> None:
    boxes = np.array([[10.0, 15, 30, 35]])
    shown = Instances(boxes, np.array([0]), masks=masks_of(boxes, 40, 50))
    drawn = draw_instances(grey(40, 50), shown, CLASSES, PALETTE, 0.5, factor=10)
    assert drawn.shape == (400, 500, 3)
    red = (drawn == RED).all(2)
    for pixel in ((250, 100), (250, 299), (150, 200), (349, 200)):
        assert red[pixel], pixel
    assert red[250, 80:120].sum() == 2
    assert drawn[250, 200].tolist() == [50, 50, 178]


def test_smaller_objects_are_over_larger_ones() -> None:
    boxes = np.array([[100.0, 100, 150, 150], [50, 50, 250, 250]])
    shown = Instances(boxes, np.array([0, 1]), np.array([0.5, 0.9]), masks_of(boxes, 300, 300))
    drawn = draw_instances(grey(300, 300), shown, CLASSES, PALETTE, 1.0)
    assert drawn[140, 130].tolist() == RED
    assert drawn[200, 200].tolist() == BLUE


def test_overlapping_objects_of_a_class_are_told_apart() -> None:
    boxes = np.array([[50.0, 50, 200, 250], [100, 50, 250, 250]])
    inset = boxes + (9, 9, -9, -9)
    shown = Instances(boxes, np.array([1, 1]), masks=masks_of(inset, 300, 300))
    row = draw_instances(grey(300, 300), shown, CLASSES, PALETTE, 1.0)[150]
    assert row[105].tolist() == row[115].tolist() == BLUE, 'in one mask and in both'
    assert row[109].min() > 100, 'the outline of the upper one is brighter'


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize('size', [(300, 400), (4, 3), (1500, 2000)])
def test_degenerate_boxes_and_sizes(masked: bool, size: tuple[int, int]) -> None:
    height, width = size
    boxes = np.array([[0, 0, width, height], [-9, -9, 2e4, 2e4], [1, 1, 1, 1]], np.float32)
    masks = np.zeros((3, *size), bool) if masked else None
    shown = Instances(boxes, np.array([0, 1, 9]), np.ones(3), masks)
    drawn = draw_instances(grey(*size), shown, CLASSES, PALETTE, 0.5, scale=3.0)
    assert drawn.shape == (*size, 3)
    assert drawn.any()
    nothing = Instances(
        NOTHING, np.empty(0, int), np.empty(0), None if masks is None else masks[:0]
    )
    assert (draw_instances(grey(*size), nothing, CLASSES, PALETTE, 0.5) == 100).all()


def test_text_and_lines_grow_with_the_scale() -> None:
    shown = Instances(np.array([[100.0, 200, 300, 350]]), np.array([0]))
    one, three = (
        (draw_instances(grey(400, 400), shown, CLASSES, PALETTE, 0.5, scale=scale) == RED).all(2)
        for scale in (1.0, 3.0)
    )
    assert three[275, 90:110].sum() > one[275, 90:110].sum() > 0
    assert np.flatnonzero(three.any(1))[0] < np.flatnonzero(one.any(1))[0], 'a higher label'


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ((50, 60, 150, 160), (50, 45)),  # above
        ((50, 5, 150, 160), (50, 0)),  # inside at the top
        ((5, 5, 20, 15), (20, 0)),  # beside, at the top: inside it would hide the object
        ((180, 60, 200, 160), (140, 45)),  # the right border
    ],
)
def test_place_of_a_lone_label(box: tuple[int, ...], expected: tuple[int, int]) -> None:
    small = np.array([box]) if box[3] - box[1] < 30 else NOTHING
    place = place_label(np.array(box), (60, 15), (200, 200), NOTHING, small)
    assert place == [*expected, expected[0] + 60, expected[1] + 15]


def test_labels_stay_in_the_picture_and_clear_of_each_other() -> None:
    generator = np.random.default_rng(0)
    size, picture = (60, 15), (320, 240)
    for _ in range(20):
        taken = np.empty((0, 4), int)
        covered = np.zeros(picture[::-1], int)
        for corner in generator.uniform(0, (250, 180), (12, 2)):
            box = np.array([*corner, *(corner + generator.uniform(5, 60, 2))])
            left, top, right, bottom = place_label(box, size, picture, taken, NOTHING)
            assert 0 <= left < right <= picture[0]
            assert 0 <= top < bottom <= picture[1]
            covered[top:bottom, left:right] += 1
            taken = np.vstack([taken, (left, top, right, bottom)])
        assert covered.max() == 1


def test_a_label_that_is_moved_away_has_a_line_to_its_box(monkeypatch) -> None:
    boxes = np.array([[100.0, 150, 110, 160]])
    shown = Instances(boxes, np.array([0]))
    for place, length in (([80, 80, 140, 95], 149 - 95), ([80, 135, 140, 150], 0)):
        monkeypatch.setattr(instances, 'place_label', lambda *_, place=place: place)
        drawn = draw_instances(grey(300, 300), shown, CLASSES, PALETTE, 0.5)
        assert (drawn[place[3] : 149, 105, 2] > 200).sum() == length


def test_colours_of_classes() -> None:
    assert class_colour(1, PALETTE) == (0, 0, 250)
    colours = {class_colour(i, PALETTE) for i in range(60)}
    assert len(colours) == 60
    assert class_colour(2, []) == class_colour(2, PALETTE)
