"""Bits and channels of generated files; cv2, which decodes all pixels, is the oracle."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmconvnext.preflight.pixel_format import pixel_format


@pytest.mark.parametrize('ending', ['png', 'tif'])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_matches_cv2(ending: str, bits: int, channels: int, tmp_path: Path) -> None:
    pixels = np.zeros((5, 7, channels), f'uint{bits}').squeeze()
    cv2.imwrite(str(tmp_path / f'a.{ending}'), pixels)
    with (tmp_path / f'a.{ending}').open('rb') as file:
        assert pixel_format(file) == (bits, channels)


@pytest.mark.parametrize(
    ('mode', 'ending', 'expected'),
    [
        ('RGB', 'JPEG', (8, 3)),
        ('L', 'JPEG', (8, 3)),
        ('P', 'PNG', (8, 3)),
        ('1', 'PNG', (8, 1)),
        ('LA', 'PNG', (8, 2)),
        ('RGBA', 'WEBP', (8, 4)),
    ],
)
def test_other_formats(mode: str, ending: str, expected: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new(mode, (4, 4)).save(file, ending)
    file.seek(0)
    assert pixel_format(file) == expected


def test_what_is_no_image_is_not_judged() -> None:
    assert pixel_format(io.BytesIO(b'text')) == (8, 3)
