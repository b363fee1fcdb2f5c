"""Find masks in a COCO file that mmdet and pycocotools cannot read."""

import math

#: Pixels beyond any image. pycocotools draws an outline point by point, however far it goes.
FAR = 1e6


def mask_fault(segmentation: object, size: tuple[int, int] | None) -> str:
    """Return the kind of fault of a segmentation in an image of (height, width), or ''.

    It is ``'no masks'``, ``'broken masks'`` or ``'run lengths of another size'``. Run lengths that
    are compressed to a text are not decoded.
    """
    if not segmentation:
        return 'no masks'
    if isinstance(segmentation, dict):
        return _fault_of_run_lengths(segmentation, size)
    if not isinstance(segmentation, list):
        return 'broken masks'
    try:
        # NaN and infinity stay in a sum.
        readable = all(
            math.isfinite(sum(polygon))
            and -FAR < min(polygon, default=0) <= max(polygon, default=0) < FAR
            for polygon in segmentation
        )
    except TypeError:
        readable = False
    return '' if readable else 'broken masks'


def _fault_of_run_lengths(segmentation: dict, size: tuple[int, int] | None) -> str:
    counts, given = segmentation.get('counts'), segmentation.get('size')
    if not isinstance(counts, list | str) or not isinstance(given, list) or len(given) != 2:
        return 'broken masks'
    if size and tuple(given) != size:
        return 'run lengths of another size'
    if isinstance(counts, str):
        return ''
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return 'broken masks'
    return '' if sum(counts) == given[0] * given[1] else 'run lengths of another size'
