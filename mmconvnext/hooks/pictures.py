"""What the hooks that write a picture of each tested picture have in common."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook


class PictureHook(Hook):
    """Writes one PNG, of the tested picture's name, for each tested picture.

    Args:
        draw: Whether to write anything.
        out_dir: Folder for the PNGs, made if need be; in the runner's log folder by default.
        interval: Write every so many batches.
    """

    def __init__(self, draw: bool, out_dir: str | None, interval: int) -> None:
        self.draw = draw
        self.out_dir = out_dir
        self.interval = interval

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.draw or not self.every_n_inner_iters(batch_idx, self.interval):
            return
        folder = Path(self.out_dir or Path(runner.log_dir) / 'pictures')
        folder.mkdir(parents=True, exist_ok=True)
        for sample in outputs:
            image = cv2.imread(sample.img_path)
            picture = self.picture(image, sample, runner.test_dataloader.dataset)
            cv2.imwrite(str(folder / f'{Path(sample.img_path).stem}.png'), picture)

    def picture(self, image: np.ndarray, sample, dataset) -> np.ndarray:
        """What is written of a sample.

        Args:
            image: The tested picture as it is on disk: (H, W, 3) uint8, BGR.
            sample: The data sample, with its ground truth and predictions.
            dataset: The tested data set, with its ``metainfo``.

        Returns:
            uint8, BGR, of any size.
        """
        raise NotImplementedError
