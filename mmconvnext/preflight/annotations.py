"""Check the boxes and masks of a COCO annotation file."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmconvnext.data.coco_file import CocoFile
from mmconvnext.data.coco_masks import mask_fault
from mmconvnext.preflight.findings import Findings

_TOLERANCE = 1.0  # pixels by which a box may exceed its image, because of rounding
_MANY = 0.1  # fraction of boxes beyond the edge that indicates another box format

_DROPPED = 'mmdet drops them silently, and their objects become background'
# The level if there are few, and the message. Only the first fault of a box counts.
_FAULTS = {
    'boxes without numbers': (
        'error',
        'boxes that are not four numbers x, y, width, height: training fails on them',
    ),
    'boxes of no size': ('warning', f'boxes with a width or height of 0 or less: {_DROPPED}'),
    'boxes below a pixel': ('warning', f'boxes narrower or lower than a pixel: {_DROPPED}'),
    'boxes outside': ('warning', f'boxes completely outside their image: {_DROPPED}'),
    'areas without numbers': ('error', 'annotations whose area is not a number: training fails'),
    'areas of 0': ('warning', f'annotations whose area is 0 or less: {_DROPPED}'),
    'boxes beyond the edge': (
        'warning',
        'boxes more than a pixel beyond the edge of their image; clip them, or correct the '
        "images' sizes",
    ),
    'no masks': (
        'error',
        'annotations without segmentation, which the mask head needs: training fails on them',
    ),
    'broken masks': (
        'error',
        'segmentations that are neither polygons nor run lengths: training fails on them',
    ),
    'run lengths of another size': (
        'error',
        'run lengths with another size than their image: training fails on them',
    ),
    'short polygons': (
        'warning',
        'segmentations without a polygon of three corners (an even number of six or more '
        'coordinates): mmdet ignores the whole instance',
    ),
    'crossing polygons': (
        'warning',
        'segmentations with a polygon that crosses or touches itself, as a few of COCO 2017 do: '
        'what it surrounds twice is not in the mask; correct those that are not meant so',
    ),
    'masks beside their boxes': (
        'warning',
        'polygons that do not overlap the box of their annotation; both need pixels of the image',
    ),
    'empty masks': (
        'warning',
        'segmentations without a pixel in their image: the mask head learns an empty mask',
    ),
}


def _add_fault(kind: str, ids: Sequence[object], total: int, findings: Findings) -> None:
    level, message = _FAULTS[kind]
    findings.add(level, kind, f'{message} (ids of annotations)', ids, total)


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    good = isinstance(values, list | tuple) and len(values) == count
    if good and all(isinstance(value, int | float) for value in values):
        try:
            return tuple(float(value) for value in values)
        except OverflowError:  # json allows integers of any length
            pass
    return (np.nan,) * count


def check_boxes(file: CocoFile, findings: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Check boxes against their images.

    Returns:
        (N, 4) float64 x, y, width, height in pixels, nan without four numbers; (N,) bool:
        whether mmdet keeps the box.
    """
    known = {image['id']: _numbers([image['width'], image['height']], 2) for image in file.images}
    pictures = [known.get(a['image_id'], (np.nan,) * 2) for a in file.annotations]
    sizes = np.array(pictures, float).reshape(-1, 2)
    given = [_numbers(annotation['bbox'], 4) for annotation in file.annotations]
    boxes = np.array(given, float).reshape(-1, 4)
    faults = _box_faults(file, boxes, sizes)
    format_ = _other_format(boxes, sizes)
    if format_:
        findings.error(
            'format of boxes',
            f'expected boxes x, y, width, height in pixels, found {format_}; convert them',
        )
    else:
        ids = [annotation['id'] for annotation in file.annotations]
        for kind, which in faults.items():
            _add_fault(kind, [ids[i] for i in np.flatnonzero(which)], len(ids), findings)
    dropped = [which for kind, which in faults.items() if kind != 'boxes beyond the edge']
    return boxes, np.isfinite(sizes).all(axis=1) & ~np.any(dropped, axis=0)


def _box_faults(file: CocoFile, boxes: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return (N,) bool by kind of fault; comparisons with nan are false."""
    areas = np.array([_numbers([a['area']], 1)[0] for a in file.annotations], float)
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
    """Return the format that all boxes seem to have, or '' for COCO's format."""
    known = np.isfinite(boxes).all(axis=1) & np.isfinite(sizes).all(axis=1)
    boxes, sizes = boxes[known], sizes[known]
    if len(boxes) == 0:
        return ''
    if (boxes >= 0).all() and (boxes <= 1).all():
        return 'parts of the image, 0 to 1'
    beyond = (boxes[:, :2] + boxes[:, 2:] > sizes + _TOLERANCE).any(axis=1)
    as_corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + _TOLERANCE)
    return 'x1, y1, x2, y2' if beyond.mean() >= _MANY and as_corners.all() else ''


def check_masks(file: CocoFile, used: np.ndarray, findings: Findings) -> None:
    """Check the masks of the annotations that mmdet keeps, ``used``: (N,) bool."""
    sizes = {image['id']: (image['height'], image['width']) for image in file.images}
    ids = defaultdict(list)
    for place in np.flatnonzero(used):
        annotation = file.annotations[place]
        fault = fault_of_mask(annotation, sizes[annotation['image_id']])
        ids[fault].append(annotation['id'])
    for kind in _FAULTS:
        # No number of crossings makes a training fail.
        total = 0 if kind == 'crossing polygons' else int(used.sum())
        _add_fault(kind, ids[kind], total, findings)


def fault_of_mask(annotation: dict, size: tuple[int, int]) -> str:
    """Return the kind of fault of a segmentation in an image of (height, width), or ''."""
    segmentation = annotation.get('segmentation')
    if fault := mask_fault(segmentation, size):
        return fault
    if isinstance(segmentation, dict):
        return _fault_of_decoded(segmentation, size)
    good = [one for one in segmentation or () if len(one) >= 6 and len(one) % 2 == 0]
    if not good:
        return 'short polygons'
    drawn = [polygon for polygon in good if _covers(polygon, (0, 0, size[1], size[0]))]
    if not drawn:
        return 'empty masks'
    if not any(_covers(polygon, annotation['bbox']) for polygon in drawn):
        return 'masks beside their boxes'
    return '' if all(map(_is_simple, drawn)) else 'crossing polygons'


def _is_simple(polygon: list[float]) -> bool:
    # A dependency of mmdet; this module is also imported without mmdet.
    from shapely.geometry import LinearRing

    return LinearRing(list(zip(polygon[::2], polygon[1::2]))).is_simple


def _covers(polygon: list[float], box: Sequence[float]) -> bool:
    """Return whether a polygon's bounding box covers a part of a box x, y, width, height."""
    return all(
        min(max(places), start + length) > max(min(places), start)
        for places, start, length in zip((polygon[::2], polygon[1::2]), box[:2], box[2:])
    )


def _fault_of_decoded(segmentation: dict, size: tuple[int, int]) -> str:
    counts = segmentation['counts']
    if isinstance(counts, list):
        return '' if sum(counts[1::2]) else 'empty masks'
    # A dependency of mmdet; this module is also imported without mmdet.
    from pycocotools import mask

    try:
        decoded = mask.decode({'size': list(size), 'counts': counts.encode()})
    except (ValueError, TypeError):
        return 'broken masks'
    return '' if decoded.any() else 'empty masks'
