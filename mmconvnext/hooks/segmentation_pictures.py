"""Pictures of what a segmentor saw, should have seen and predicted, side by side."""

import numpy as np

from mmconvnext.drawing.labels import compare_labels
from mmconvnext.hooks.pictures import PictureHook
from mmconvnext.registry import HOOKS

_PANELS = {'gt_sem_seg': 'ground truth', 'pred_sem_seg': 'prediction'}


@HOOKS.register_module()
class SegmentationPictureHook(PictureHook):
    """Writes ``image | ground truth | prediction`` as one PNG for each tested picture.

    Labels are drawn in the dataset's palette over the picture, with a legend of the classes that
    occur; what the annotation ignores is white. Without ground truth its panel is left out.

    Args:
        draw: Whether to write anything.
        out_dir: Folder for the PNGs, made if need be; in the runner's log folder by default.
        interval: Write every so many batches.
        opacity: Share of the label colour in a pixel, 0 to 1.
    """

    def __init__(
        self,
        draw: bool = False,
        out_dir: str | None = None,
        interval: int = 1,
        opacity: float = 0.7,
    ) -> None:
        super().__init__(draw, out_dir, interval)
        self.opacity = opacity

    def picture(self, image: np.ndarray, sample, dataset) -> np.ndarray:
        meta = dataset.metainfo
        labels = {
            title: getattr(sample, field).data.squeeze(0).cpu().numpy()
            for field, title in _PANELS.items()
            if field in sample
        }
        return compare_labels(image, labels, meta['classes'], meta['palette'], self.opacity)
