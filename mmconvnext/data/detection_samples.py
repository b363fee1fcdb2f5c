"""A generated miniature dataset in COCO's layout, to try detection in minutes on a CPU.

Images show two to four shapes with colour noise, clutter and occlusion over a muted gradient;
each class has its own hue. The layout is COCO's::

    ROOT/{train2017,val2017}/NAME.jpg                     uint8 RGB
    ROOT/annotations/instances_{train2017,val2017}.json   boxes and masks of the visible parts
"""

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmconvnext.data.sample_set import Generators, Report, write_image, write_sample_set
from mmconvnext.data.shapes import draw_background, paint_shape, with_noise

CLASSES = ('circle', 'square', 'triangle', 'ring')
PALETTE = ((230, 25, 75), (255, 160, 20), (60, 140, 255), (170, 60, 220))

_HUES = {'circle': 15, 'square': 210, 'triangle': 110, 'ring': 290}  # degrees
# With gaps, as in COCO: code that uses an id as an index fails here too.
_CATEGORY_IDS = {'circle': 1, 'square': 3, 'triangle': 4, 'ring': 7}
# Folder and first image id; as in COCO, no id occurs in both splits.
_SPLITS = {'training': ('train2017', 1), 'validation': ('val2017', 500_001)}
_LEAST_VISIBLE = 0.25  # a shape with a smaller visible fraction is not annotated
_ENLARGEMENT = 4  # so that outlines follow the edges of pixels instead of their centres
_TOLERANCE = 0.5  # pixels between a polygon and the mask's edge


class VisibleShape(NamedTuple):
    """The visible part of a shape: class, (size, size) bool mask, whether it is complete."""

    name: str
    mask: np.ndarray
    whole: bool


def write_detection_samples(
    root: str | Path,
    *,
    training: int = 300,
    validation: int = 50,
    size: int = 160,
    seed: int = 0,
    report: Report | None = None,
) -> Path:
    """Write the dataset below ``root``.

    Arguments and errors are those of :func:`~mmconvnext.data.samples.write_segmentation_samples`.
    """
    counts = {'training': training, 'validation': validation}
    recipe = {'version': 1, 'kind': 'detection', **counts, 'size': size, 'seed': seed}
    return write_sample_set(root, _write_split, recipe, report)


def draw_image(generator: np.random.Generator, size: int) -> tuple[np.ndarray, list[VisibleShape]]:
    """Return (size, size, 3) uint8 RGB, and the one to four shapes in it, from front to back.

    In an image of 160 pixels they are 34 to 70 pixels wide. A shape of which less than a quarter is
    visible is not returned.
    """
    image = draw_background(generator, size)
    painted = []
    for _ in range(generator.integers(2, 5)):
        name = CLASSES[generator.integers(len(CLASSES))]
        radius = generator.uniform(17 / 160 * size, 35 / 160 * size)
        mask = paint_shape(generator, image, name, radius=radius, hue=_HUES[name])
        painted.append((name, mask))
    shapes, covered = [], np.zeros((size, size), bool)
    for name, mask in reversed(painted):
        visible = mask & ~covered
        covered |= mask
        if visible.sum() >= _LEAST_VISIBLE * mask.sum():
            shapes.append(VisibleShape(name, visible, bool((visible == mask).all())))
    return with_noise(generator, image), shapes


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return lengths of the runs of 0, 1, 0, … down the columns of a (height, width) bool mask.

    These are COCO's uncompressed run lengths, so that drawing samples does not need pycocotools.
    Source: https://github.com/cocodataset/cocoapi/blob/0c3123a/MatlabAPI/MaskApi.m
    """
    pixels = mask.ravel(order='F')
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(changes, prepend=0, append=pixels.size).tolist()
    return [0, *runs] if pixels[0] else runs


def _write_split(root: Path, split: str, generators: Generators, size: int) -> None:
    folder, first_id = _SPLITS[split]
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, generator in enumerate(generators, first_id):
        image, shapes = draw_image(generator, size)
        name = f'{image_id:012d}.jpg'
        write_image(root / folder / name, image)
        images.append(dict(id=image_id, file_name=name, width=size, height=size, license=1))
        for shape in shapes:
            # From 1, because pycocotools' evaluation uses the annotation id 0 for "no match".
            annotations.append(_annotation(shape, len(annotations) + 1, image_id))
    content = dict(  # https://cocodataset.org/#format-data
        info=dict(description='Generated shapes, written by mmconvnext', version='1'),
        licenses=[dict(id=1, name='Apache-2.0', url='https://www.apache.org/licenses/LICENSE-2.0')],
        images=images,
        annotations=annotations,
        categories=[
            dict(id=i, name=name, supercategory='shape') for name, i in _CATEGORY_IDS.items()
        ],
    )
    file = root / 'annotations' / f'instances_{folder}.json'
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))


def _annotation(shape: VisibleShape, annotation_id: int, image_id: int) -> dict[str, object]:
    return dict(
        id=annotation_id,
        image_id=image_id,
        category_id=_CATEGORY_IDS[shape.name],
        segmentation=_segmentation(shape),
        area=int(shape.mask.sum()),
        bbox=list(cv2.boundingRect(shape.mask.astype(np.uint8))),
        iscrowd=0,
    )


def _segmentation(shape: VisibleShape) -> list[list[float]] | dict[str, list[int]]:
    """Return polygons of a complete shape without a hole, run lengths of any other shape."""
    grown = np.kron(shape.mask, np.ones((_ENLARGEMENT, _ENLARGEMENT), bool)).astype(np.uint8)
    outlines, nesting = cv2.findContours(grown, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    has_hole = (nesting[0, :, 3] >= 0).any()  # column 3: the outline around this one, or -1
    if not shape.whole or has_hole:
        return dict(size=list(shape.mask.shape), counts=run_lengths(shape.mask))
    # x, y, x, y, … in pixels; (0, 0) is the corner of the image.
    polygons = (
        cv2.approxPolyDP(outline, _TOLERANCE * _ENLARGEMENT, closed=True) for outline in outlines
    )
    return [((corners + 0.5) / _ENLARGEMENT).ravel().tolist() for corners in polygons]
