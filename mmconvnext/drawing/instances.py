"""Draw instances over an image: masks, boxes and labels, with little overlap of labels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mmconvnext.drawing.classes import Colour, class_colour, class_name
from mmconvnext.drawing.panels import enlarge, enlargement, side_by_side, text_scale
from mmconvnext.drawing.plates import draw_plate, measure, shade

_BOX_LINE = 2  # at scale 1
_TALL = 4  # minimal height, in lines of text, of a box with space for a label inside
_SMALL = 4  # times a label's area: a label would hide much of a smaller box
_ROWS = 6  # maximal distance of a label from its box, in lines
_NEARNESS = 0.3  # of a label's area: small boxes it may cover to be one line nearer to its box


class Instances(NamedTuple):
    """Objects in an image, in its pixels.

    ``boxes``: (N, 4) left, top, right, bottom from the image's corner; ``ids``: (N,) classes;
    ``scores``: (N,) or None; ``masks``: (N, H, W) bool or None.
    """

    boxes: np.ndarray
    ids: np.ndarray
    scores: np.ndarray | None = None
    masks: np.ndarray | None = None


class _Label(NamedTuple):
    text: str
    box: np.ndarray  # of its instance
    colour: Colour


def draw_instances(
    image: np.ndarray,
    instances: Instances,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float,
    *,
    factor: int = 1,
    scale: float = 1.0,
) -> np.ndarray:
    """Return an enlarged image with masks, boxes and labels; lines and text are not enlarged.

    Smaller objects are drawn over larger ones, and labels with higher scores are placed first.
    Shapes: (H, W, 3) → (H × factor, W × factor, 3), uint8 BGR. ``palette`` has RGB colours,
    ``opacity`` is the weight of the class colour inside a mask, 0 to 1, ``scale`` the size of text
    and lines (:func:`text_scale`).
    """
    canvas = enlarge(image, factor)
    boxes = instances.boxes * factor
    colours = [class_colour(i, palette)[::-1] for i in instances.ids.tolist()]
    order = np.argsort(-_areas(boxes), kind='stable')
    if instances.masks is not None:
        for i in order:
            _draw_mask(canvas, instances.masks[i], colours[i], opacity, factor, scale)
    for i in order:
        _draw_box(canvas, boxes[i], colours[i], scale)
    first = order[::-1]
    if instances.scores is not None:
        first = first[np.argsort(-instances.scores[first], kind='stable')]
    labels = [_Label(_text(instances, i, classes), boxes[i], colours[i]) for i in first]
    _draw_labels(canvas, labels, scale)
    return canvas


def compare_instances(
    image: np.ndarray,
    instances: Mapping[str, Instances],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float,
) -> np.ndarray:
    """Return the image, (H, W, 3) uint8 BGR, without and with each set of instances, side by side.

    ``instances`` maps each panel's title to its instances; a legend is below. The other arguments
    are those of :func:`draw_instances`.
    """
    factor = enlargement(image)
    scale = text_scale(image, factor)
    panels = {'image': enlarge(image, factor)} | {
        title: draw_instances(image, shown, classes, palette, opacity, factor=factor, scale=scale)
        for title, shown in instances.items()
    }
    present = sorted({i for shown in instances.values() for i in shown.ids.tolist()})
    legend = [(class_name(i, classes), class_colour(i, palette)) for i in present]
    return side_by_side(panels, legend, scale)


def _draw_mask(
    canvas: np.ndarray, mask: np.ndarray, colour: Colour, opacity: float, factor: int, scale: float
) -> None:
    """Fill a mask, with an outline that separates it from other masks of its class."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if not width:
        return
    inside = enlarge(mask[top : top + height, left : left + width], factor).astype(bool)
    left, top = left * factor, top * factor
    region = canvas[top : top + len(inside), left : left + inside.shape[1]]
    filled = np.full_like(region, colour)
    mixed = cv2.addWeighted(filled, opacity, region, 1 - opacity, 0)
    np.copyto(region, mixed, where=inside[..., None])
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thickness, offset = round(scale), (left, top)
    cv2.drawContours(canvas, outlines, -1, shade(colour), thickness, cv2.LINE_AA, offset=offset)


def _draw_box(canvas: np.ndarray, box: np.ndarray, colour: Colour, scale: float) -> None:
    """Draw a box just inside its edges: OpenCV would draw half of its lines outside."""
    limit = np.array(canvas.shape[1::-1])
    start = np.clip(np.rint(box[:2]), 0, limit - 1).astype(int)
    end = np.clip(np.rint(box[2:]), start + 1, limit).astype(int)
    inside = canvas[start[1] : end[1], start[0] : end[0]]
    n = round(_BOX_LINE * scale)
    for line in (inside[:n], inside[-n:], inside[:, :n], inside[:, -n:]):
        line[:] = colour


def _draw_labels(canvas: np.ndarray, labels: Sequence[_Label], scale: float) -> None:
    """Draw labels; the first get the best places and cover those that they cannot avoid."""
    boxes = np.array([label.box for label in labels]).reshape(-1, 4)
    drawn = []
    taken = np.empty((0, 4), int)
    for label in labels:
        text = measure(label.text, canvas.shape[1], scale)
        small = boxes[_areas(boxes) < _SMALL * text.size[0] * text.size[1]]
        place = place_label(label.box, text.size, canvas.shape[1::-1], taken, small)
        taken = np.vstack([taken, place])
        drawn.append((label, place, text))
    for label, place, _ in drawn:
        _draw_leader(canvas, label, place, scale)
    for label, place, text in reversed(drawn):
        draw_plate(canvas, text, place[:2], label.colour, scale)


def _draw_leader(canvas: np.ndarray, label: _Label, place: Sequence[int], scale: float) -> None:
    """Draw a line from a label to its box if they are apart."""
    if not _distances(np.array([place]), label.box)[0]:
        return
    middle = (label.box[:2] + label.box[2:]) / 2
    start = np.clip(middle, place[:2], np.subtract(place[2:], 1))
    end = np.clip(start, label.box[:2], label.box[2:])
    first, last = np.rint([start, end]).astype(int).tolist()
    cv2.line(canvas, first, last, label.colour, round(scale), cv2.LINE_AA)


def place_label(
    box: np.ndarray,
    size: tuple[int, int],
    picture: tuple[int, int],
    taken: np.ndarray,
    small: np.ndarray,
) -> list[int]:
    """Return a label's place in the image that covers the least of other labels.

    Among equal places it prefers those near the instance's ``box``, (4,), that cover little of the
    ``small`` boxes, (S, 4). Other labels are at ``taken``, (L, 4). All are left, top, right, bottom
    in pixels; the label's ``size`` and the ``image`` are (width, height).
    """
    spots = np.array(list(_spots(np.rint(box).astype(int).tolist(), *size)))
    spots = np.clip(spots, 0, np.maximum(np.subtract(picture, size), 0))
    places = np.hstack([spots, spots + size])
    lines = _distances(places, box) / size[1]
    handiness = _covered(places, small) / (size[0] * size[1]) + _NEARNESS * lines
    # Sorted by the last key first; among equals, the first place is used.
    return places[np.lexsort([handiness, _covered(places, taken)])[0]].tolist()


def _spots(box: Sequence[int], width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield left and top of a label, best first: above, inside, below, beside, farther away."""
    left, top, right, bottom = box
    lines = [top - height, top, bottom, bottom - height]
    if bottom - top < _TALL * height:
        lines = [top - height, bottom, top, bottom - height]
    for row in range(1, _ROWS + 1):
        lines += [bottom + row * height, top - (row + 1) * height]
    # Also the middle of tall boxes, if top and bottom are taken.
    lines += range(top + height, bottom - height, height)
    for y in lines:
        for x in (left, right - width, right, left - width):
            yield x, y


def _distances(places: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the pixels from each of (P, 4) places to a box, along the axis with the larger gap."""
    apart = np.maximum(places[:, :2] - box[2:], box[:2] - places[:, 2:])
    return (apart.max(1) - 1).clip(0)  # one pixel is due to rounding


def _covered(places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the area of (P, 4) places covered by (B, 4) boxes; areas of two boxes count twice."""
    ends = np.minimum(places[:, None, 2:], boxes[:, 2:])
    return (ends - np.maximum(places[:, None, :2], boxes[:, :2])).clip(0).prod(2).sum(1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)


def _text(instances: Instances, index: int, classes: Sequence[str]) -> str:
    name = class_name(int(instances.ids[index]), classes)
    return name if instances.scores is None else f'{name} {instances.scores[index]:.2f}'
