"""Write a predictor's results: overlays, label maps, COCO json."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.structures import BaseDataElement

from mmconvnext.command_line.overrides import annotation_file
from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.instances import Instances
from mmconvnext.drawing.overlay import instance_overlay, label_overlay
from mmconvnext.drawing.samples import detections
from mmconvnext.inference.classes import tested_dataset
from mmconvnext.inference.inputs import Input
from mmconvnext.inference.model import Predictor
from mmconvnext.inference.png import frame_name, write_png
from mmconvnext.inference.predictions import PredictionFile, categories


@dataclass
class SegmentationResults:
    """Draws label maps and writes each as a PNG of ids, ``labels/NAME.png``.

    The ids are those of the dataset's annotations, as in tools/test.py --out: the model's ids plus
    ``first_id``, which is 1 if label 0 means unlabelled (``reduce_zero_label``), else 0. A PNG has
    8 bits, or 16 bits if an id is above 255.
    """

    folder: Path  # folder of all results
    classes: Classes
    first_id: int
    opacity: float  # weight of the label colour in an overlay, 0 to 1

    unit = 'pixels'

    def found(self, sample: BaseDataElement) -> np.ndarray:
        """Return (H, W) int64 labels, 0 for the first class; floats for a single class."""
        return sample.pred_sem_seg.data.squeeze(0).cpu().numpy().astype(np.int64, copy=False)

    def picture(self, image: np.ndarray, found: np.ndarray, lines: int | None = None) -> np.ndarray:
        """Return the overlay with a legend of ``lines`` lines; see :func:`label_overlay`."""
        return label_overlay(image, found, self.classes, self.opacity, lines)

    def forget(self, source: Input) -> None:
        """Remove the label maps of a video's frames from an earlier run."""
        for old in self._path(source, 0).parent.glob('*.png'):
            old.unlink()

    def keep(
        self, image: np.ndarray, found: np.ndarray, source: Input, frame: int | None = None
    ) -> dict[str, str]:
        """Write the label map of an input or frame; return the files written, by kind."""
        path = self._path(source, frame)
        largest = len(self.classes.names) - 1 + self.first_id
        dtype = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
        write_png(path, (found + self.first_id).astype(dtype))
        return {'labels': str(path if frame is None else path.parent)}

    def _path(self, source: Input, frame: int | None) -> Path:
        name = source.name.with_name(f'{source.name.name}.png')
        return self.folder / 'labels' / (name if frame is None else frame_name(source.name, frame))

    def amounts(self, found: np.ndarray) -> Counter[str]:
        """Return the pixels of each class present, by name."""
        areas = np.bincount(found.ravel())
        return Counter({self.classes.names[i]: int(areas[i]) for i in np.flatnonzero(areas)})


@dataclass
class DetectionResults:
    """Draws detections and writes all of them into one :class:`PredictionFile`."""

    file: PredictionFile
    classes: Classes
    score_thr: float  # minimal score of detections that are drawn and written
    opacity: float  # weight of the class colour inside a mask, 0 to 1

    unit = 'instances'

    def found(self, sample: BaseDataElement) -> Instances:
        """Return the sample's detections with a sufficient score."""
        return detections(sample, self.score_thr)

    def picture(self, image: np.ndarray, found: Instances, lines: int | None = None) -> np.ndarray:
        """Return the overlay with a legend of ``lines`` lines; see :func:`instance_overlay`."""
        return instance_overlay(image, found, self.classes, self.opacity, lines)

    def forget(self, source: Input) -> None:
        """Do nothing: the file of an earlier run's detections is replaced as a whole."""

    def keep(
        self, image: np.ndarray, found: Instances, source: Input, frame: int | None = None
    ) -> dict[str, str]:
        """Write the detections of an input or frame into the common file; return no files."""
        listed: dict[str, object] = {'file_name': source.given.as_posix(), 'path': str(source.path)}
        if frame is not None:
            listed['frame'] = frame
        self.file.add(image.shape[:2], found, listed)
        return {}

    def amounts(self, found: Instances) -> Counter[str]:
        """Return the number of instances of each class present, by name."""
        return Counter(self.classes.names[i] for i in found.ids.tolist())


Results = SegmentationResults | DetectionResults


@contextmanager
def open_results(
    predictor: Predictor, config: Config, folder: Path, score_thr: float, opacity: float
) -> Iterator[Results]:
    """Yield an object that draws and writes a segmentor's or a detector's predictions.

    The annotation file of ``config`` may define COCO's category ids. ``folder`` must exist; see
    :class:`SegmentationResults` and :class:`DetectionResults` for the other arguments.
    """
    classes = predictor.classes
    if predictor.kind == 'segmentation':
        yield SegmentationResults(folder, classes, predictor.first_id, opacity)
        return
    annotations = annotation_file(tested_dataset(config))
    listed = categories(classes.names, Path(annotations) if annotations else None)
    with PredictionFile(folder / 'predictions.json', listed) as file:
        yield DetectionResults(file, classes, score_thr, opacity)
