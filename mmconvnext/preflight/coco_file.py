"""Read a COCO annotation file, as far as it is valid."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmconvnext.errors import UserError

# Keys that mmdet's CocoDataset reads from each record without a check.
NEEDED = {
    'images': ('id', 'file_name', 'width', 'height'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}


@dataclass(frozen=True)
class CocoFile:
    """Complete images, annotations and categories; incomplete ones by their missing keys."""

    path: str
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    # Missing keys, by the name of the list, then by the record's id or position.
    incomplete: dict[str, dict[str, list[str]]]


def read_coco(path: str | Path) -> CocoFile:
    """Read an annotation file; raise UserError if it is missing, not JSON, or not COCO's."""
    try:
        content = json.loads(Path(path).read_bytes())
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
    return CocoFile(str(path), **complete, incomplete=incomplete)


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
    return value is not None and (key == 'bbox' or not isinstance(value, list | dict))
