"""A COCO annotation file, read as far as it can be used."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmconvnext.errors import UserError

# What mmdet's CocoDataset looks up in each record, without asking whether it is there.
NEEDED = {
    'images': ('id', 'file_name', 'width', 'height'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}


@dataclass(frozen=True)
class CocoFile:
    """Images, annotations and categories that have what they need; the others by what they lack."""

    path: str
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    # By the name of the list, then by the id or place of a record, the keys that it lacks.
    incomplete: dict[str, dict[str, list[str]]]


def read_coco(path: str | Path) -> CocoFile:
    """Read an annotation file; a UserError where it is missing, not JSON, or not COCO's kind."""
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
                f'categories, got no {name} (there is: {shortened(there)}); export the '
                'annotations as COCO instances'
            )
    complete, incomplete = {}, {}
    for name, keys in NEEDED.items():
        complete[name], incomplete[name] = _sorted_out(lists[name], keys)
    return CocoFile(str(path), **complete, incomplete=incomplete)


def shortened(text: str, length: int = 100) -> str:
    """A text of at most that many characters, or its beginning."""
    return text if len(text) <= length else f'{text[:length]}…'


def quoted(names: Iterable[str], length: int = 100) -> str:
    """Names in quotes, :func:`shortened`."""
    return shortened(', '.join(map(repr, names)), length)


def repeated(values: Iterable[Any]) -> list[Any]:
    """Those that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def _sorted_out(records: list, keys: tuple[str, ...]) -> tuple[list[dict], dict[str, list[str]]]:
    """Records that have all keys; what the others lack, by id or place."""
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
    # A list is no id or name; what is wrong with a box is another question.
    return value is not None and (key == 'bbox' or not isinstance(value, list | dict))
