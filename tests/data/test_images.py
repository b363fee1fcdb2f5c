from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from PIL import Image
from torch.utils.data import DataLoader

from mmconvnext.data.images import name_unreadable_images
from mmconvnext.errors import UserError, one_line_errors


@pytest.fixture(autouse=True)
def named(monkeypatch) -> None:
    monkeypatch.setattr(LoadImageFromFile, 'transform', LoadImageFromFile.transform)
    name_unreadable_images()
    name_unreadable_images()


@pytest.mark.parametrize('content', [b'', b'<html>', None], ids=['empty', 'page', 'missing'])
def test_names_the_picture(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / 'a.jpg'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf'{path}: expected a readable image \(.+\); replace'):
        LoadImageFromFile()({'img_path': str(path)})


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK', 'I;16', 'RGBA', 'P', '1'])
def test_reads_three_channels_of_any_kind(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.full((6, 8), 200, np.uint8))
    if mode == 'I;16':
        image = Image.fromarray(np.full((6, 8), 200 * 257, np.uint16))
    elif mode != 'L':
        image = image.convert('RGB').convert(mode)
    path = tmp_path / ('a.jpg' if mode == 'CMYK' else 'a.png')
    image.save(path)
    loaded = LoadImageFromFile()({'img_path': str(path)})['img']
    assert loaded.shape == (6, 8, 3)
    assert loaded.dtype == np.uint8
    assert mode == '1' or abs(float(loaded.mean()) - 200) < 4


class Broken(BaseDataset):
    def load_data_list(self) -> list[dict]:
        return [dict(img_path='/nowhere/a.jpg')]


def test_one_line_from_a_worker(capsys) -> None:
    dataset = Broken(pipeline=[LoadImageFromFile()])
    loader = DataLoader(dataset, num_workers=1, collate_fn=list, multiprocessing_context='fork')
    with pytest.raises(SystemExit) as caught, one_line_errors():
        list(loader)
    assert str(caught.value).startswith('error: /nowhere/a.jpg: expected a readable image')
    assert '\n' not in str(caught.value)


def test_a_good_picture_is_as_before(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), pixels)
    loaded = LoadImageFromFile()({'img_path': str(tmp_path / 'a.png')})
    assert np.array_equal(loaded['img'], pixels)
    assert loaded['ori_shape'] == (5, 7)
