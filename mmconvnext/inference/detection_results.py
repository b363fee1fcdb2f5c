"""What is kept of a detector's predictions: overlays and one COCO json."""

from collections import Counter

import numpy as np
from mmengine.structures import BaseDataElement

from mmconvnext.drawing.classes import Classes
from mmconvnext.drawing.instances import Instances
from mmconvnext.drawing.overlay import instance_overlay
from mmconvnext.drawing.samples import detections
from mmconvnext.inference.inputs import Input
from mmconvnext.inference.predictions import PredictionFile


class DetectionResults:
    """Draws detections and writes them all into one :class:`PredictionFile`.

    Args:
        file: Where they go.
        classes: Names and colours.
        score_thr: Least score of a detection that is drawn and written.
        opacity: Share of the class colour inside a mask, 0 to 1.
    """

    unit = 'instances'

    def __init__(
        self, file: PredictionFile, classes: Classes, score_thr: float, opacity: float
    ) -> None:
        self.file = file
        self.classes = classes
        self.score_thr = score_thr
        self.opacity = opacity

    def found(self, sample: BaseDataElement) -> Instances:
        """The sample's detections of a sufficient score."""
        return detections(sample, self.score_thr)

    def picture(self, image: np.ndarray, found: Instances, lines: int | None = None) -> np.ndarray:
        """The overlay over a legend, of so many lines; see :func:`instance_overlay`."""
        return instance_overlay(image, found, self.classes, self.opacity, lines)

    def forget(self, source: Input) -> None:
        """Nothing: an earlier run's detections are in a file that is replaced as a whole."""

    def keep(
        self, image: np.ndarray, found: Instances, source: Input, frame: int | None = None
    ) -> dict[str, str]:
        """Write the detections of an input or a frame of it; they have no file of their own."""
        listed = {'file_name': source.given.as_posix(), 'path': str(source.path)}
        if frame is not None:
            listed['frame'] = frame
        self.file.add(image.shape[:2], found, listed)
        return {}

    def amounts(self, found: Instances) -> Counter[str]:
        """Instances of each class present, by its name."""
        return Counter(self.classes.names[i] for i in found.ids.tolist())
