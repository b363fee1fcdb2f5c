"""What is wrong with the masks of a COCO annotation file: polygons and run lengths."""

import math

import numpy as np

from mmconvnext.preflight.coco_file import CocoFile
from mmconvnext.preflight.findings import Findings

_IGNORED = 'mmdet ignores the whole instance'
# What the fault of a mask leads to, by :func:`fault`'s answer; the level is for a few.
_FAULTS = {
    'no masks': (
        'error',
        'annotations without segmentation, which the mask head needs: training ends there',
    ),
    'broken masks': (
        'error',
        'segmentations that are neither polygons of numbers nor run lengths: training ends there',
    ),
    'run lengths of another size': (
        'error',
        'run lengths of another size than their picture: training ends there',
    ),
    'short polygons': (
        'warning',
        'segmentations with no polygon of three corners (an even number, six or more, of '
        f'coordinates): {_IGNORED}',
    ),
    'empty masks': (
        'warning',
        'segmentations with no pixel in their picture: the mask head learns that there is nothing',
    ),
}


def check_instance_masks(split: str, file: CocoFile, used: np.ndarray, findings: Findings) -> None:
    """Check the masks of the annotations that are used.

    Args:
        split: Name of the data set.
        file: Its annotation file.
        used: (N,) bool, the annotations that mmdet keeps.
        findings: To be added to.
    """
    sizes = {image['id']: (image['height'], image['width']) for image in file.images}
    offenders = {kind: [] for kind in _FAULTS}
    for place in np.flatnonzero(used):
        annotation = file.annotations[place]
        kind = fault(annotation.get('segmentation'), sizes[annotation['image_id']])
        if kind:
            offenders[kind].append(annotation['id'])
    for kind, ids in offenders.items():
        level, message = _FAULTS[kind]
        findings.add_offenders(
            level, split, kind, f'{message} (ids of annotations)', ids, int(used.sum())
        )


def fault(segmentation: object, size: tuple[int, int]) -> str:
    """The kind of fault of one segmentation in a picture of (height, width), or ''."""
    if not segmentation:
        return 'no masks'
    if isinstance(segmentation, dict):
        return _fault_of_run_lengths(segmentation, size)
    if not isinstance(segmentation, list):
        return 'broken masks'
    good = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(
            isinstance(value, int | float) and math.isfinite(value) for value in polygon
        ):
            return 'broken masks'
        if len(polygon) >= 6 and len(polygon) % 2 == 0:
            good.append(polygon)
    if not good:
        return 'short polygons'
    return '' if any(_covers(polygon, size) for polygon in good) else 'empty masks'


def _covers(polygon: list[float], size: tuple[int, int]) -> bool:
    """Whether what a polygon spans has an extent within a picture of (height, width)."""
    for places, limit in ((polygon[1::2], size[0]), (polygon[::2], size[1])):
        if min(max(places), limit) <= max(min(places), 0):
            return False
    return True


def _fault_of_run_lengths(segmentation: dict, size: tuple[int, int]) -> str:
    counts, given = segmentation.get('counts'), segmentation.get('size')
    if not isinstance(counts, list | str) or not given:
        return 'broken masks'
    if list(given) != list(size):
        return 'run lengths of another size'
    pixels = size[0] * size[1]
    if isinstance(counts, list):
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            return 'broken masks'
        if sum(counts) != pixels:
            return 'run lengths of another size'
        return '' if sum(counts[1::2]) else 'empty masks'
    # mmdet brings it; this module is read where mmdet is not.
    from pycocotools import mask

    try:
        decoded = mask.decode({'size': list(size), 'counts': counts.encode()})
    except (ValueError, TypeError):
        return 'broken masks'
    return '' if decoded.any() else 'empty masks'
