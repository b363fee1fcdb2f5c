import cv2
import numpy as np
import pytest

from mmconvnext.errors import UserError
from mmconvnext.inference.png import write_png


def test_writes_folders_and_both_depths_and_leaves_nothing_beside(tmp_path) -> None:
    for dtype in (np.uint8, np.uint16):
        path = tmp_path / 'a' / 'b.c' / 'd.png'
        image = np.arange(12, dtype=dtype).reshape(3, 4)
        write_png(path, image)
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image)
        assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    (tmp_path / 'a').touch()
    with pytest.raises(UserError, match=r'd\.png: could not be written'):
        write_png(tmp_path / 'a' / 'd.png', np.zeros((3, 4), np.uint8))

    def full(*_) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.replace', full)
    with pytest.raises(UserError, match='No space left on device'):
        write_png(tmp_path / 'e.png', np.zeros((3, 4), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ['a']
