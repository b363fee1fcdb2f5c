from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmconvnext.data.orientation import SWAPPING, turned_to


@pytest.mark.parametrize('orientation', range(1, 9))
def test_matches_opencv_both_ways(orientation: int, tmp_path: Path) -> None:
    stored = np.arange(15, dtype=np.uint8).reshape(3, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = str(tmp_path / 'a.png')
    Image.fromarray(stored).save(path, exif=exif)
    turned = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if orientation in SWAPPING:
        assert np.array_equal(turned_to((5, 3), stored, path), turned)
        assert np.array_equal(turned_to((3, 5), turned, path), stored)
        assert turned_to((5, 3), np.dstack([stored] * 3), path).shape == (5, 3, 3)
        assert turned_to((5, 4), stored, path) is None
    else:
        assert turned_to((5, 3), stored, path) is None
