"""Bits and channels of generated files; cv2, which decodes all pixels, is the oracle."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmconvnext.preflight.pixel_format import PixelFormat, pixel_format


@pytest.mark.parametrize('ending', ['png', 'tif'])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_matches_cv2(ending: str, bits: int, channels: int, tmp_path: Path) -> None:
    pixels = np.zeros((5, 7, channels), f'uint{bits}').squeeze()
    cv2.imwrite(str(tmp_path / f'a.{ending}'), pixels)
    with (tmp_path / f'a.{ending}').open('rb') as file:
        assert pixel_format(file) == (bits, channels, False, False)


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
    assert pixel_format(file) == (*expected, False, False)


def test_what_is_no_image_is_not_judged() -> None:
    assert pixel_format(io.BytesIO(b'text')) == PixelFormat()


@pytest.mark.parametrize('ending', ['TIFF', 'GIF', 'WEBP'])
@pytest.mark.parametrize('pages', [1, 2])
def test_several_pages(ending: str, pages: int) -> None:
    file = io.BytesIO()
    images = [Image.new('RGB', (4, 4), (place * 99, 0, 0)) for place in range(pages)]
    images[0].save(file, ending, save_all=True, append_images=images[1:])
    file.seek(0)
    assert pixel_format(file).more_pages is (pages > 1)


def test_a_reduced_copy_is_no_page() -> None:
    """Maps store the same image at several sizes in a file."""
    file, copy = io.BytesIO(), Image.new('RGB', (2, 2))
    copy.encoderinfo = {'tiffinfo': {254: 1}}  # NewSubfileType
    Image.new('RGB', (4, 4)).save(file, 'TIFF', save_all=True, append_images=[copy])
    file.seek(0)
    assert not pixel_format(file).more_pages


@pytest.mark.parametrize('kind', [np.float32, np.float64, np.int32])
def test_floats_are_told(kind: type, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.tif'), np.zeros((5, 7), kind))
    with (tmp_path / 'a.tif').open('rb') as file:
        found = pixel_format(file)
    assert found[:3] == (np.dtype(kind).itemsize * 8, 1, np.dtype(kind).kind == 'f')
