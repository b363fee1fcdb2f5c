from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmconvnext import SegmentationPictureHook

PALETTE = [(255, 0, 0), (0, 0, 255)]


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
