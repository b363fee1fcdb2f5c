"""Pictures of what a detector saw, should have seen and found, side by side."""

import numpy as np

from mmconvnext.drawing.instances import compare_instances
from mmconvnext.drawing.samples import detections, ground_truth
from mmconvnext.hooks.pictures import PictureHook
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class DetectionPictureHook(PictureHook):
    """Writes ``image | ground truth | detections`` as one PNG for each tested picture.

    Masks, boxes and labels are drawn in the dataset's palette over the picture, with a legend of
    the classes that occur. Without ground truth its panel is left out.

    Args:
        draw: Whether to write anything.
        out_dir: Folder for the PNGs, made if need be; in the runner's log folder by default.
        interval: Write every so many batches.
        score_thr: Least score of a detection that is drawn.
        opacity: Share of the class colour inside a mask, 0 to 1.
    """

    def __init__(
        self,
        draw: bool = False,
        out_dir: str | None = None,
        interval: int = 1,
        score_thr: float = 0.3,
        opacity: float = 0.5,
    ) -> None:
        super().__init__(draw, out_dir, interval)
        self.score_thr = score_thr
        self.opacity = opacity

    def picture(self, image: np.ndarray, sample, dataset) -> np.ndarray:
        meta = dataset.metainfo
        panels = {}
        if 'bboxes' in sample.get('gt_instances', ()):
            panels['ground truth'] = ground_truth(sample, image.shape[:2], dataset)
        panels['detections'] = detections(sample, self.score_thr)
        palette = meta.get('palette') or ()
        return compare_instances(image, panels, meta['classes'], palette, self.opacity)
