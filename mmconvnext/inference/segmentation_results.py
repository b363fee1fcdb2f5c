"""What is kept of a segmentor's predictions: overlays and label pictures."""

from collections import Counter
from pathlib import Path, PurePath

import numpy as np
from mmengine.structures import BaseDataElement

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.overlay import label_overlay
from mmconvnext.inference.inputs import Input
from mmconvnext.inference.png import write_png


class SegmentationResults:
    """Draws label maps and writes each as a PNG of ids, ``labels/NAME.png``.

    The ids are those of the dataset's own annotations, as tools/test.py --out writes them: the
    model's, plus ``first_id``. A PNG has 8 bits, or 16 where an id is above 255.

    Args:
        folder: Of all results.
        classes: Names and colours.
        first_id: Id of the first class: 1 where the dataset's label 0 is none
            (``reduce_zero_label``), else 0.
        opacity: Share of the label colour in an overlay, 0 to 1.
    """

    unit = 'pixels'

    def __init__(self, folder: Path, classes: Classes, first_id: int, opacity: float) -> None:
        self.folder = folder
        self.classes = classes
        self.first_id = first_id
        self.opacity = opacity

    def found(self, sample: BaseDataElement) -> np.ndarray:
        """(H, W) int64 labels, 0 for the first class; a segmentor of one class gives floats."""
        return sample.pred_sem_seg.data.squeeze(0).cpu().numpy().astype(np.int64, copy=False)

    def picture(self, image: np.ndarray, found: np.ndarray, lines: int | None = None) -> np.ndarray:
        """The overlay over a legend, of so many lines; see :func:`label_overlay`."""
        return label_overlay(image, found, self.classes, self.opacity, lines)

    def forget(self, source: Input) -> None:
        """Remove the label pictures of an earlier run's frames of a video."""
        folder = (self.folder / 'labels' / frame_name(source.name, 0)).parent
        if folder.is_dir():
            for old in folder.glob('*.png'):
                old.unlink()

    def keep(
        self, image: np.ndarray, found: np.ndarray, source: Input, frame: int | None = None
    ) -> dict[str, str]:
        """Write the label picture of an input or a frame of it; what was written is by kind."""
        name = source.name.with_name(f'{source.name.name}.png')
        if frame is not None:
            name = frame_name(source.name, frame)
        path = self.folder / 'labels' / name
        largest = len(self.classes.names) - 1 + self.first_id
        dtype = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
        write_png(path, (found + self.first_id).astype(dtype))
        return {'labels': str(path if frame is None else path.parent)}

    def amounts(self, found: np.ndarray) -> Counter[str]:
        """Pixels of each class present, by its name."""
        areas = np.bincount(found.ravel())
        return Counter({self.classes.names[i]: int(areas[i]) for i in np.flatnonzero(areas)})


def frame_name(name: PurePath, frame: int) -> PurePath:
    """Path of a frame's PNG, in a folder of the video's name; frames count from 0."""
    return name.with_name(f'{name.name}.frames') / f'{frame:06d}.png'
