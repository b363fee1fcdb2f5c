from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmconvnext import SegmentationPictureHook
from mmconvnext.hooks.segmentation_pictures import compare, overlay

PALETTE = [(255, 0, 0), (0, 0, 255)]


def test_overlay_mixes_palette_and_picture() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    labels = np.array([[0, 1, 255]])
    red, blue, ignored = overlay(image, labels, PALETTE, opacity=0.5)[0].tolist()
    assert red == [50, 50, 178]  # BGR; (255 + 100) / 2, rounded
    assert blue == [178, 50, 50]
    assert ignored == [178, 178, 178]


def test_compare_enlarges_small_pictures_and_names_the_classes() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    labels = np.zeros((64, 64), int)
    titled = {'ground truth': labels, 'prediction': labels + 1}
    one_line = compare(image, titled, ('left', 'right'), PALETTE, 0.7)
    assert one_line.shape == (24 + 256 + 24, 3 * 256 + 2 * 8, 3)
    legend = one_line[-24:]
    assert (legend == (0, 0, 255)).all(-1).any()
    assert (legend == (255, 0, 0)).all(-1).any()
    names = tuple(f'a class with a long name {i}' for i in range(9))
    many = {'prediction': np.arange(64 * 64).reshape(64, 64) % 9}
    assert len(compare(image, many, names, PALETTE * 5, 0.7)) > 24 + 256 + 24


def test_writes_one_picture_a_sample(tmp_path) -> None:
    path = tmp_path / 'street.jpg'
    cv2.imwrite(str(path), np.zeros((256, 300, 3), np.uint8))
    sample = SegDataSample(metainfo=dict(img_path=str(path)))
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 256, 300, dtype=torch.long))
    dataset = SimpleNamespace(metainfo=dict(classes=('a', 'b'), palette=PALETTE))
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset), log_dir=tmp_path)
    SegmentationPictureHook().after_test_iter(runner, 0, outputs=[sample])
    assert not (tmp_path / 'pictures').exists(), 'draw is off by default'
    SegmentationPictureHook(draw=True, interval=2).after_test_iter(runner, 0, outputs=[sample])
    assert not (tmp_path / 'pictures').exists()
    SegmentationPictureHook(draw=True).after_test_iter(runner, 0, outputs=[sample])
    written = cv2.imread(str(tmp_path / 'pictures' / 'street.png'))
    assert written.shape == (24 + 256 + 24, 2 * 300 + 8, 3)
