"""A COCO annotation file, read as far as it can be used."""

import json
from dataclasses import dataclass
from pathlib import Path

from mmconvnext.errors import UserError

# What mmdet's CocoDataset looks up in each record, without asking whether it is there.
NEEDED = {
    'images': ('id', 'file_name', 'width', 'height'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}


@dataclass(frozen=True)
class CocoFile:
    """Images, annotations and categories that have what they need; the others by what they lack.

    ``incomplete`` maps, for each of the three lists, the id or place of a record to the keys that
    it lacks.
    """

    path: str
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    incomplete: dict[str, dict[str, list[str]]]


def read_coco(path: str | Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        UserError: there is none, it is not JSON, or not COCO's kind of it.
    """
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
            'the data set'
        ) from error
    keys = sorted(content) if isinstance(content, dict) else type(content).__name__
    for name in NEEDED:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise UserError(
                f'{path}: expected COCO annotations with lists named images, annotations and '
                f'categories, got no {name} (there is: {_shortened(keys)}); export the '
                'annotations as COCO instances'
            )
    return _sorted_out(str(path), content)


def _shortened(keys: list[str] | str) -> str:
    text = keys if isinstance(keys, str) else ', '.join(map(str, keys)) or 'nothing'
    return text if len(text) <= 100 else f'{text[:100]}…'


def _sorted_out(path: str, content: dict) -> CocoFile:
    complete, incomplete = {}, {}
    for name, keys in NEEDED.items():
        complete[name], incomplete[name] = [], {}
        for place, record in enumerate(content[name]):
            if isinstance(record, dict):
                missing = [key for key in keys if not _usable(key, record.get(key))]
            else:
                missing = list(keys)
            if missing:
                known = record.get('id') if isinstance(record, dict) else None
                called = f'place {place}' if known is None else f'id {known}'
                incomplete[name][called] = missing
            else:
                complete[name].append(record)
    return CocoFile(path, **complete, incomplete=incomplete)


def _usable(key: str, value: object) -> bool:
    # A list is no id or name; what is wrong with a box is another question.
    return value is not None and (key == 'bbox' or not isinstance(value, list | dict))
