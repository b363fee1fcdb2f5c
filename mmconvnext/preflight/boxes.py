"""What is wrong with the boxes of a COCO annotation file."""

import numpy as np

from mmconvnext.preflight.coco_file import CocoFile
from mmconvnext.preflight.findings import Findings

_TOLERANCE = 1.0  # pixels by which a box may leave its picture, as rounding makes some
_MANY = 0.1  # part of the boxes that must be beyond the edge to tell of another format of all

_DROPPED = 'mmdet drops them without a word, and their objects become background'
# Faults of a box: the level where they are few, and what to say. The first one of a box counts.
_FAULTS = {
    'boxes without numbers': (
        'error',
        'boxes that are not four numbers x, y, width, height: training ends there',
    ),
    'boxes of no size': ('warning', f'boxes with a width or height of 0 or less: {_DROPPED}'),
    'boxes below a pixel': ('warning', f'boxes narrower or lower than a pixel: {_DROPPED}'),
    'boxes outside': ('warning', f'boxes wholly outside their picture: {_DROPPED}'),
    'areas without numbers': (
        'error',
        'annotations whose area is no number: training ends there',
    ),
    'areas of 0': ('warning', f'annotations whose area is 0 or less: {_DROPPED}'),
    'boxes beyond the edge': (
        'warning',
        'boxes more than a pixel beyond the edge of their picture; clip them, or correct the '
        'sizes in images',
    ),
}


def boxes_of(file: CocoFile) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and the sizes of their pictures.

    Returns:
        (N, 4) float64 x, y, width, height in pixels, nan where there are no four numbers;
        (N, 2) float64 width and height, nan where the picture is unknown.
    """
    sizes = {image['id']: _numbers([image['width'], image['height']], 2) for image in file.images}
    boxes = [_numbers(annotation['bbox'], 4) for annotation in file.annotations]
    pictures = [sizes.get(a['image_id'], (np.nan,) * 2) for a in file.annotations]
    return (
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(pictures, np.float64).reshape(-1, 2),
    )


def _numbers(values: object, count: int) -> tuple[float, ...]:
    good = isinstance(values, list | tuple) and len(values) == count
    if good and all(isinstance(value, int | float) for value in values):
        try:
            return tuple(float(value) for value in values)
        except OverflowError:  # json has integers of any length
            pass
    return (np.nan,) * count


def check_boxes(split: str, file: CocoFile, findings: Findings) -> np.ndarray:
    """Check boxes against their pictures.

    Returns:
        (N,) bool: those that mmdet keeps.
    """
    boxes, sizes = boxes_of(file)
    faults = _faults(file, boxes, sizes)
    format_ = _other_format(boxes, sizes)
    if format_:
        findings.add(
            *('error', split, 'format of boxes'),
            f'boxes look like {format_}, and COCO has x, y, width, height in pixels; convert them',
        )
    ids = [annotation['id'] for annotation in file.annotations]
    for kind, which in faults.items() if not format_ else ():
        level, message = _FAULTS[kind]
        offenders = [ids[place] for place in np.flatnonzero(which)]
        findings.add_offenders(
            level, split, kind, f'{message} (ids of annotations)', offenders, len(ids)
        )
    dropped = [which for kind, which in faults.items() if kind != 'boxes beyond the edge']
    return np.isfinite(sizes).all(axis=1) & ~np.any(dropped, axis=0)


def _faults(file: CocoFile, boxes: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """(N,) bool for each of :data:`_FAULTS`; in comparisons, nan is never true."""
    areas = np.array([_numbers([a['area']], 1)[0] for a in file.annotations], np.float64)
    ends = boxes[:, :2] + boxes[:, 2:]
    inside = np.minimum(ends, sizes) - np.maximum(boxes[:, :2], 0)
    beyond = (boxes[:, :2] < -_TOLERANCE) | (ends > sizes + _TOLERANCE)
    found = {
        'boxes without numbers': ~np.isfinite(boxes).all(axis=1),
        'boxes of no size': (boxes[:, 2:] <= 0).any(axis=1),
        'boxes below a pixel': (boxes[:, 2:] < 1).any(axis=1),
        'boxes outside': (inside <= 0).any(axis=1),
        'areas without numbers': np.isnan(areas),
        'areas of 0': areas <= 0,
        'boxes beyond the edge': beyond.any(axis=1),
    }
    seen = np.zeros(len(boxes), bool)
    for kind, which in found.items():
        found[kind] = which & ~seen
        seen |= which
    return found


def _other_format(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """What all boxes look like, where that is not COCO's format; else ''."""
    known = np.isfinite(boxes).all(axis=1) & np.isfinite(sizes).all(axis=1)
    boxes, sizes = boxes[known], sizes[known]
    if len(boxes) == 0:
        return ''
    if (boxes >= 0).all() and (boxes <= 1).all():
        return 'parts of the picture, 0 to 1'
    ends = boxes[:, :2] + boxes[:, 2:]
    beyond = (ends > sizes + _TOLERANCE).any(axis=1)
    as_corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + _TOLERANCE)
    return 'x1, y1, x2, y2' if beyond.mean() >= _MANY and as_corners.all() else ''
