"""Read a COCO annotation file, and refuse one that mmdet would misread."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmconvnext.data.coco_masks import FAR, mask_fault
from mmconvnext.errors import UserError

# Keys that mmdet's CocoDataset reads from each record without a check.
NEEDED = {
    'images': ('id', 'file_name', 'width', 'height'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}


@dataclass(frozen=True)
class CocoFile:
    """Complete images, annotations and categories; incomplete ones by their missing keys.

    ``is_finite`` is False if the file has a NaN or an infinite number, which JSON does not have;
    ``is_annotated`` is False if it has no list of annotations.
    """

    path: str
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    # Missing keys, by the name of the list, then by the record's id or position.
    incomplete: dict[str, dict[str, list[str]]]
    is_finite: bool
    is_annotated: bool


def read_coco(path: str | Path, *, annotated: bool = True) -> CocoFile:
    """Read an annotation file; raise UserError if it is missing, not JSON, or not COCO's.

    Without ``annotated`` the annotations may be missing, as in COCO's files for test-dev.
    """
    try:
        text = Path(path).read_bytes()
        content = json.loads(text)
    except OSError as error:
        raise UserError(
            f'{path}: expected a COCO annotation file, could not read it ({error.strerror}); '
            'correct the path'
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path}: expected JSON, got something else ({error}); give the annotation file of '
            'the dataset'
        ) from error
    lists, there = {}, type(content).__name__
    if isinstance(content, dict):
        lists = {name: records for name, records in content.items() if isinstance(records, list)}
        there = ', '.join(map(str, sorted(content))) or 'nothing'
        if not annotated:
            lists.setdefault('annotations', [])
    for name in NEEDED:
        if name not in lists:
            raise UserError(
                f'{path}: expected COCO annotations with lists named images, annotations and '
                f'categories, found no {name} (only {shortened(there)}); export the '
                'annotations as COCO instances'
            )
    complete, incomplete = {}, {}
    for name, keys in NEEDED.items():
        complete[name], incomplete[name] = _sorted_out(lists[name], keys)
    _harmonise(complete['images'], complete['annotations'])
    is_finite = not any(word in text for word in (b'NaN', b'Infinity'))
    is_annotated = 'annotations' in content
    return CocoFile(
        str(path), **complete, incomplete=incomplete, is_finite=is_finite, is_annotated=is_annotated
    )


def _harmonise(images: list[dict], annotations: list[dict]) -> None:
    """Make integers of sizes such as 64.0, and of crowds that are null or booleans."""
    for image in images:
        for key in ('width', 'height'):
            if isinstance(image[key], float) and image[key].is_integer():
                image[key] = int(image[key])
    for annotation in annotations:
        if annotation.get('iscrowd') in (None, False, True):
            annotation['iscrowd'] = int(bool(annotation.get('iscrowd')))


def require_usable(file: CocoFile, *, with_masks: bool = False) -> None:
    """Refuse a file with records that mmdet cannot read, or would silently drop or misread.

    Boxes without width or height, of which COCO 2017 has two, are no such records, and neither are
    boxes beyond their image.

    Raises:
        UserError: a record lacks a key that mmdet needs, has the id of another, or a value of
            another type or range; a category has the name of another; an annotation has an unknown
            category or, ``with_masks``, no mask that can be read. The message names the file and
            the record.
    """
    for name in NEEDED:
        for record, missing in file.incomplete[name].items():
            raise _refusal(file, name, record, ', '.join(missing), 'none')
        records = getattr(file, name)
        for value in repeated(record['id'] for record in records):
            raise _refusal(file, name, f'id {value}', 'this id once', 'it several times')
        if name != 'images':  # whose ids may be texts
            _require(file, name, 'id', 'an integer', lambda value: type(value) is int)
    for value in repeated(category['name'] for category in file.categories):
        raise _refusal(file, 'categories', repr(value), 'this name once', 'it several times')
    known = {category['id'] for category in file.categories}
    _require(file, 'annotations', 'category_id', 'one of categories', known.__contains__)
    for key in ('width', 'height'):
        _require(file, 'images', key, 'a whole number from 1', lambda v: type(v) is int and v > 0)
    _require(file, 'images', 'file_name', 'the name of a file', _is_name)
    _require(file, 'annotations', 'iscrowd', '0 or 1', lambda value: value in (0, 1))
    _require_numbers(file, 'area', 'a finite number', -math.inf)
    expected = 'x, y, width, height in pixels, the last two not negative'
    _require_numbers(file, 'bbox', expected, [-FAR, -FAR, 0, 0], FAR)
    sizes = {image['id']: (image['height'], image['width']) for image in file.images}
    for annotation in file.annotations if with_masks or not file.is_finite else ():
        segmentation, size = annotation.get('segmentation'), sizes.get(annotation['image_id'])
        if (segmentation or with_masks) and mask_fault(segmentation, size):
            expected = 'segmentation: polygons in pixels, or run lengths of the size of the image'
            given = shortened(str(segmentation)) if segmentation else 'none'
            raise _refusal(file, 'annotations', f'id {annotation["id"]}', expected, given)


def require_classes(file: CocoFile, classes: Sequence[str]) -> None:
    """Require that mmdet's labels, in the order of the file's categories, mean these classes.

    Raises UserError otherwise; the message names the file.
    """
    if isinstance(classes, str):
        raise UserError(
            f'metainfo.classes: expected a tuple of names, got the text {classes!r}; a single '
            "class is ('name',), with a comma"
        )
    names = [category['name'] for category in file.categories]
    order = [name for name in names if name in classes]
    if order != list(classes):
        absent = [name for name in classes if name not in names]
        got = f'no category {quoted(absent)}' if absent else f'the order {quoted(order)}'
        raise UserError(
            f'{file.path}: expected categories in the order of the classes of the dataset, '
            f'{quoted(classes)}, which are the labels to mmdet, got {got}; correct '
            'metainfo.classes of the dataset'
        )


def _refusal(file: CocoFile, name: str, record: str, expected: str, got: str) -> UserError:
    return UserError(
        f'{file.path}: {name}, {record}: expected {expected}, got {got}; correct the file '
        '(tools/check_dataset.py lists all such records)'
    )


def _require(
    file: CocoFile, name: str, key: str, expected: str, is_right: Callable[[Any], bool]
) -> None:
    for record in getattr(file, name):
        if not is_right(record[key]):
            where, given = f'id {record["id"]}', repr(record[key])
            raise _refusal(file, name, where, f'{key}: {expected}', shortened(given))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.strip('./') != ''


def _require_numbers(
    file: CocoFile, key: str, expected: str, least: float | list[float], most: float = math.inf
) -> None:
    """Require a finite number from ``least`` to ``most`` in each annotation, or a list of them."""
    if not _are_numbers([record[key] for record in file.annotations], least, most):
        _require(
            *(file, 'annotations', key, expected),
            lambda value: _are_numbers([value], least, most),
        )


def _are_numbers(values: list, least: float | list[float], most: float) -> bool:
    if not values:
        return True
    try:
        array = np.array(values)
    except ValueError:  # lists of several lengths
        return False
    if array.dtype.kind not in 'iuf' or array.shape != (len(values), *np.shape(least)):
        return False
    return bool((np.isfinite(array) & (array >= np.array(least)) & (array <= most)).all())


def shortened(text: str, length: int = 100) -> str:
    """Return a text, cut to at most ``length`` characters."""
    return text if len(text) <= length else f'{text[:length]}…'


def quoted(names: Iterable[str], length: int = 100) -> str:
    """Return quoted names, cut by :func:`shortened`."""
    return shortened(', '.join(map(repr, names)), length)


def repeated(values: Iterable[Any]) -> list[Any]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def _sorted_out(records: list, keys: tuple[str, ...]) -> tuple[list[dict], dict[str, list[str]]]:
    """Return the records that have all keys, and the others' missing keys by id or position."""
    complete, incomplete = [], {}
    for place, record in enumerate(records):
        known = record if isinstance(record, dict) else {}
        missing = [key for key in keys if not _usable(key, known.get(key))]
        if not missing:
            complete.append(record)
        elif known.get('id') is None:
            incomplete[f'place {place}'] = missing
        else:
            incomplete[f'id {known["id"]}'] = missing
    return complete, incomplete


def _usable(key: str, value: object) -> bool:
    # A list cannot be an id or name; boxes are checked elsewhere.
    return value is not None and (key == 'bbox' or not isinstance(value, (list, dict)))
