"""Write detections as COCO json, one by one."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api

from mmconvnext.drawing.instances import Instances
from mmconvnext.errors import UserError


class PredictionFile:
    """A COCO json of ``categories``, ``annotations`` with scores, and ``images``.

    The list ``annotations`` has COCO's results format. Each entry also has ``id``, ``area`` and
    ``iscrowd``, so that pycocotools and labelling tools read the whole file as a dataset. Boxes are
    left, top, width, height in pixels; masks are compressed RLE.

    The file appears, complete, on closing. Until then annotations go to a temporary file next to
    it, so that even many frames do not fill the memory. Its folder must exist; ``categories`` has
    COCO's id and the name of each of the model's classes. Raises UserError if the file cannot be
    written.
    """

    def __init__(self, path: Path, categories: Sequence[tuple[int, str]]) -> None:
        self.path = path
        self._ids = [number for number, _ in categories]
        self._partial = path.with_name(f'.{path.name}.partial')
        self._images: list[dict] = []
        self._count = 0
        try:
            self._file = self._partial.open('w')
        except OSError as error:
            raise UserError(f'{path}: could not be written ({error.strerror})') from error
        listed = [{'id': number, 'name': name} for number, name in categories]
        self._file.write(f'{{"categories": {json.dumps(listed)},\n"annotations": [')

    def add(self, shape: tuple[int, int], found: Instances, image: Mapping[str, object]) -> None:
        """Add the detections of an image of (height, width) ``shape``.

        ``image`` is the image's entry in ``images``, with at least ``file_name``.
        """
        number = len(self._images) + 1
        texts = []
        for i in range(len(found.ids)):
            self._count += 1
            texts.append(',\n' if self._count > 1 else '\n')
            texts.append(json.dumps(self._annotation(found, i, number)))
        # One write, so that an interrupt does not leave half an image.
        self._file.write(''.join(texts))
        self._images.append({'id': number, **image, 'height': shape[0], 'width': shape[1]})

    def _annotation(self, found: Instances, i: int, image: int) -> dict:
        assert found.scores is not None  # predictions have scores
        left, top, right, bottom = found.boxes[i].tolist()
        box = [left, top, right - left, bottom - top]
        annotation = {
            'id': self._count,
            'image_id': image,
            'category_id': self._ids[int(found.ids[i])],
            'bbox': [round(value, 2) for value in box],
            'area': round(box[2] * box[3], 2),
            'iscrowd': 0,
            'score': round(float(found.scores[i]), 5),
        }
        if found.masks is not None:
            mask = np.asfortranarray(found.masks[i].astype(np.uint8))
            encoded = mask_api.encode(mask)
            counts = encoded['counts'].decode('ascii')
            annotation['area'] = int(mask.sum())
            annotation['segmentation'] = {'size': encoded['size'], 'counts': counts}
        return annotation

    def __enter__(self) -> 'PredictionFile':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):  # keeps the detections so far
            self._file.write(f'\n],\n"images": {json.dumps(self._images)}}}\n')
            self._file.close()
            os.replace(self._partial, self.path)
        else:
            self._file.close()
            self._partial.unlink(missing_ok=True)


def categories(names: Sequence[str], annotations: Path | None) -> list[tuple[int, str]]:
    """Return COCO's id and the name of each of the model's classes.

    The ids are those of the dataset's annotation file, as in tools/test.py --out, if it exists and
    has all names; otherwise 1, 2, 3 ….
    """
    ids: dict[str, int] = {}
    if annotations is not None and annotations.is_file():
        try:
            listed = json.loads(annotations.read_bytes())['categories']
            ids = {category['name']: int(category['id']) for category in listed}
        except (OSError, ValueError, KeyError, TypeError):
            ids = {}  # the annotation file is optional here
    if not ids.keys() >= set(names):
        return list(enumerate(names, 1))
    return [(ids[name], name) for name in names]
