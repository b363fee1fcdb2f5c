"""Name annotation files that mmdet cannot read, or would misread."""

import functools
from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.evaluation.metrics import coco_metric

from mmconvnext.data.coco_file import read_coco, require_classes, require_usable
from mmconvnext.detection.anchors import name_images_without_anchors
from mmconvnext.errors import UserError, first_line


class CheckedCOCO(COCO):
    """mmdet's COCO, which refuses a file by :func:`~mmconvnext.data.coco_file.require_usable`.

    Without ``annotated`` the annotations may be missing, as in COCO's files for test-dev.
    ``classes`` are those of the dataset, if labels are read.
    """

    def __init__(
        self,
        annotation_file: str,
        *,
        annotated: bool = True,
        with_masks: bool = False,
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        file = read_coco(annotation_file, annotated=annotated)
        require_usable(file, with_masks=with_masks)
        if classes:
            require_classes(file, classes)
        self.dataset: dict[str, Any] = dict(images=file.images, categories=file.categories)
        if file.is_annotated:
            self.dataset['annotations'] = file.annotations
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


def name_unusable_files() -> None:
    """Make mmdet name unusable annotations and images.

    ``CocoDataset``, ``CocoMetric`` and ``LoadAnnotations`` then raise :class:`UserError` for
    annotations, and anchor heads for images. This applies to the current process and processes
    forked from it; safe to call again.
    """
    name_images_without_anchors()
    if not hasattr(CocoDataset.load_data_list, '__wrapped__'):
        coco_metric.COCO = functools.partial(CheckedCOCO, annotated=False)
        _check_files()
        _name_images()


def _check_files() -> None:
    load = CocoDataset.load_data_list

    @functools.wraps(load)
    def naming(self: CocoDataset) -> list[dict]:
        if self.COCOAPI is COCO:  # not a subclass's own
            self.COCOAPI = functools.partial(
                CheckedCOCO,
                annotated=not self.test_mode,
                with_masks=any(getattr(t, 'with_mask', False) for t in self.pipeline.transforms),
                classes=self.metainfo['classes'],
            )
        return load(self)

    CocoDataset.load_data_list = naming


def _name_images() -> None:
    transform = LoadAnnotations.transform

    @functools.wraps(transform)
    def naming(self: LoadAnnotations, results: dict) -> dict:
        try:
            return transform(self, results)
        except Exception as error:  # pycocotools may raise anything for broken run lengths
            raise UserError(
                f'{results["img_path"]}: expected annotations that can be read '
                f'({first_line(error)}); tools/check_dataset.py lists them'
            ) from error

    LoadAnnotations.transform = naming
