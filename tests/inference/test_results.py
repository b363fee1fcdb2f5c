from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmconvnext.drawing.classes import Classes
from mmconvnext.inference.inputs import Input
from mmconvnext.inference.results import SegmentationResults

SOURCE = Input(Path('x/a.jpg'), PurePath('a.jpg'), PurePath('x/a.b'))
IMAGE = np.zeros((1, 2, 3), np.uint8)


def results(folder: Path, number: int, first_id: int) -> SegmentationResults:
    classes = Classes(tuple(f'c{i}' for i in range(number)), ((1, 2, 3),) * number, '')
    return SegmentationResults(folder, classes, first_id, 0.5)


@pytest.mark.parametrize(
    ('number', 'first_id', 'dtype'),
    [(2, 0, np.uint8), (2, 1, np.uint8), (255, 1, np.uint8), (256, 0, np.uint8),
     (256, 1, np.uint16), (1000, 0, np.uint16)],
)  # fmt: skip
def test_labels_are_the_data_set_s_ids_in_as_few_bits_as_hold_all(
    number, first_id, dtype, tmp_path
) -> None:
    labels = np.array([[0, number - 1]])
    written = results(tmp_path, number, first_id).keep(IMAGE, labels, SOURCE)
    assert written == {'labels': str(tmp_path / 'labels' / 'x' / 'a.b.png')}
    ids = cv2.imread(written['labels'], cv2.IMREAD_UNCHANGED)
    assert ids.dtype == dtype
    assert ids.tolist() == [[first_id, number - 1 + first_id]]


def test_frames_are_in_a_folder_of_the_video(tmp_path) -> None:
    written = results(tmp_path, 2, 0).keep(IMAGE, np.array([[0, 1]]), SOURCE, 12)
    assert written == {'labels': str(tmp_path / 'labels' / 'x' / 'a.b.frames')}
    assert [p.name for p in Path(written['labels']).iterdir()] == ['000012.png']


def test_frames_of_an_earlier_run_are_forgotten(tmp_path) -> None:
    to_folder = results(tmp_path, 2, 0)
    written = to_folder.keep(IMAGE, np.array([[0, 1]]), SOURCE, 12)
    to_folder.forget(SOURCE)
    assert not list(Path(written['labels']).iterdir())


def test_amounts_are_pixels_and_a_segmentor_of_one_class_gives_floats(tmp_path) -> None:
    labels = PixelData(data=torch.tensor([[[2.0, 2.0, 0.0]]]))
    to_folder = results(tmp_path, 3, 0)
    found = to_folder.found(SegDataSample(pred_sem_seg=labels))
    assert to_folder.amounts(found) == {'c2': 2, 'c0': 1}
