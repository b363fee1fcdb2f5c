"""Write the image, the ground truth and the prediction side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmconvnext.drawing.instances import compare_instances
from mmconvnext.drawing.labels import compare_labels
from mmconvnext.drawing.samples import detections, ground_truth
from mmconvnext.registry import HOOKS

_PANELS = {'gt_sem_seg': 'ground truth', 'pred_sem_seg': 'prediction'}


class PictureHook(Hook):
    """Writes one PNG for each tested image, under the image's name.

    A subclass's method ``image`` returns the pixels to write, uint8 BGR, for a data sample, its
    dataset and the original image, (H, W, 3) uint8 BGR.

    Args:
        draw: Whether to write PNGs.
        out_dir: Folder for the PNGs, made if missing; by default in the runner's log folder.
        interval: Write the images of every ``interval``-th batch.
        opacity: Weight of the class colour, 0 to 1.
    """

    def __init__(
        self,
        draw: bool = False,
        out_dir: str | None = None,
        interval: int = 1,
        opacity: float = 0.7,
    ) -> None:
        self.draw = draw
        self.out_dir = out_dir
        self.interval = interval
        self.opacity = opacity

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: Sequence = ()
    ) -> None:
        if not self.draw or not self.every_n_inner_iters(batch_idx, self.interval):
            return
        folder = Path(self.out_dir or Path(runner.log_dir) / 'pictures')
        folder.mkdir(parents=True, exist_ok=True)
        for sample in outputs:
            image = cv2.imread(sample.img_path)
            picture = self.picture(image, sample, runner.test_dataloader.dataset)
            cv2.imwrite(str(folder / f'{Path(sample.img_path).stem}.png'), picture)


@HOOKS.register_module()
class DetectionPictureHook(PictureHook):
    """Writes ``image | ground truth | detections``, like :class:`PictureHook`.

    Masks, boxes and labels are drawn over the image in the dataset's colours, with a legend of the
    classes that occur. Without ground truth its panel is omitted. ``score_thr`` is the minimal
    score of drawn detections.
    """

    def __init__(
        self,
        draw: bool = False,
        out_dir: str | None = None,
        interval: int = 1,
        score_thr: float = 0.3,
        opacity: float = 0.5,
    ) -> None:
        super().__init__(draw, out_dir, interval, opacity)
        self.score_thr = score_thr

    def picture(self, image: np.ndarray, sample: BaseDataElement, dataset: Any) -> np.ndarray:
        meta = dataset.metainfo
        panels = {}
        if 'bboxes' in sample.get('gt_instances', ()):
            panels['ground truth'] = ground_truth(sample, image.shape[:2], dataset)
        panels['detections'] = detections(sample, self.score_thr)
        palette = meta.get('palette') or ()
        return compare_instances(image, panels, meta['classes'], palette, self.opacity)


@HOOKS.register_module()
class SegmentationPictureHook(PictureHook):
    """Writes ``image | ground truth | prediction``, like :class:`PictureHook`.

    Labels are drawn over the image in the dataset's colours, with a legend of the classes that
    occur; ignored pixels are white. Without ground truth its panel is omitted.
    """

    def picture(self, image: np.ndarray, sample: BaseDataElement, dataset: Any) -> np.ndarray:
        meta = dataset.metainfo
        labels = {
            # A head of one channel predicts floats.
            title: getattr(sample, field).data.squeeze(0).cpu().numpy().astype(np.int64, copy=False)
            for field, title in _PANELS.items()
            if field in sample
        }
        return compare_labels(image, labels, meta['classes'], meta['palette'], self.opacity)
