"""Pictures of what a segmentor saw, should have seen and predicted, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS

_GAP = 6  # white pixels between the panels
_IGNORED = (255, 255, 255)


@HOOKS.register_module()
class SegmentationPictureHook(Hook):
    """Writes ``image | ground truth | prediction`` as one PNG for each tested picture.

    Labels are drawn in the dataset's palette over the picture; what the annotation ignores is
    white. Without ground truth the middle panel is left out.

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
        self.draw = draw
        self.out_dir = out_dir
        self.interval = interval
        self.opacity = opacity

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.draw or not self.every_n_inner_iters(batch_idx, self.interval):
            return
        folder = Path(self.out_dir or Path(runner.log_dir) / 'pictures')
        folder.mkdir(parents=True, exist_ok=True)
        palette = runner.test_dataloader.dataset.metainfo['palette']
        for sample in outputs:
            picture = self._picture(sample, palette)
            cv2.imwrite(str(folder / f'{Path(sample.img_path).stem}.png'), picture)

    def _picture(self, sample, palette: Sequence[Sequence[int]]) -> np.ndarray:
        image = cv2.imread(sample.img_path)
        panels = [image]
        for field in ('gt_sem_seg', 'pred_sem_seg'):
            if field in sample:
                labels = getattr(sample, field).data.squeeze(0).cpu().numpy()
                panels.append(overlay(image, labels, palette, self.opacity))
        gap = np.full((image.shape[0], _GAP, 3), 255, np.uint8)
        rows = [part for panel in panels for part in (panel, gap)]
        return np.concatenate(rows[:-1], axis=1)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float
) -> np.ndarray:
    """Label colours over a picture.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W) class ids; ids that the palette lacks, such as 255, are white.
        palette: RGB colour of each class.
        opacity: Share of the label colour, 0 to 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    table = np.full((256, 3), _IGNORED, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    return cv2.addWeighted(table[labels.astype(np.uint8)], opacity, image, 1 - opacity, 0)
