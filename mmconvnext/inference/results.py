"""Where the results of a predictor go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from mmconvnext.inference.classes import tested_dataset
from mmconvnext.inference.detection_results import DetectionResults
from mmconvnext.inference.model import Predictor
from mmconvnext.inference.predictions import PredictionFile, categories
from mmconvnext.inference.segmentation_results import SegmentationResults

Results = SegmentationResults | DetectionResults


@contextmanager
def open_results(
    predictor: Predictor, config: Config, folder: Path, score_thr: float, opacity: float
) -> Iterator[Results]:
    """What draws and keeps a segmentor's or a detector's predictions; whole files at its end.

    Args:
        predictor: Tells which of the two it is, and its classes.
        config: Whose annotation file may give COCO's ids of the classes.
        folder: Of all results, which exists.
        score_thr: Least score of a detection that is drawn and written.
        opacity: Share of the class colour in an overlay, 0 to 1.
    """
    classes = predictor.classes
    if predictor.kind == 'segmentation':
        yield SegmentationResults(folder, classes, predictor.first_id, opacity)
        return
    listed = categories(classes.names, _annotations(config))
    with PredictionFile(folder / 'predictions.json', listed) as file:
        yield DetectionResults(file, classes, score_thr, opacity)


def _annotations(config: Config) -> Path | None:
    dataset = tested_dataset(config)
    file = dataset.get('ann_file')
    return Path(os.path.join(dataset.get('data_root') or '', file)) if file else None
