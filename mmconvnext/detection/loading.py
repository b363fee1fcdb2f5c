"""Name annotation files that mmdet cannot read, or would misread."""

import functools
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO

from mmconvnext.data.coco_file import read_coco, require_usable
from mmconvnext.detection.anchors import name_images_without_anchors


class CheckedCOCO(COCO):
    """mmdet's COCO, which refuses a file by :func:`~mmconvnext.data.coco_file.require_usable`.

    Without ``annotated`` the annotations may be missing, as in COCO's files for test-dev.
    """

    def __init__(self, annotation_file: str, *, annotated: bool = True) -> None:
        super().__init__()
        file = read_coco(annotation_file, annotated=annotated)
        require_usable(file)
        self.dataset: dict[str, Any] = {
            name: getattr(file, name) for name in ('images', 'annotations', 'categories')
        }
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


def name_unusable_files() -> None:
    """Make mmdet's ``CocoDataset`` name unusable annotations, and anchor heads unusable images.

    They then raise :class:`UserError`. This applies to the current process and processes forked
    from it; safe to call again.
    """
    name_images_without_anchors()
    load = CocoDataset.load_data_list
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def naming(self: CocoDataset) -> list[dict]:
        if self.COCOAPI is COCO:  # not a subclass's own
            self.COCOAPI = functools.partial(CheckedCOCO, annotated=not self.test_mode)
        return load(self)

    CocoDataset.load_data_list = naming
