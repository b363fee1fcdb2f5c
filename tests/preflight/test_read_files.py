from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmconvnext.errors import UserError
from mmconvnext.preflight import read_files
from mmconvnext.preflight.read_files import Pair, read_pair, read_pairs


def pairs_of(root: Path) -> list[Pair]:
    folder = root / 'annotations' / 'training'
    return [
        Pair(str(path), str(folder / f'{path.stem}.png'))
        for path in sorted((root / 'images' / 'training').glob('*.jpg'))
    ]


def test_several_processes_read_the_same_in_order(samples: Path, monkeypatch) -> None:
    pairs = [*pairs_of(samples), Pair('/nowhere/a.jpg', '/nowhere/a.png')]
    alone = list(read_pairs(pairs))
    monkeypatch.setattr(read_files, '_FEW', 0)
    assert list(read_pairs(pairs, jobs=2)) == alone
    assert [facts.image for facts in alone] == [pair.image for pair in pairs]
    assert alone[0].size == alone[0].labels_size == (64, 64)
    assert sum(alone[0].counts.values()) == 64 * 64
    assert alone[-1].problem == alone[-1].labels_problem == 'does not exist'


def test_a_process_that_dies_is_one_line(samples: Path, monkeypatch) -> None:
    class Dying:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self):
            raise read_files.BrokenProcessPool('gone')

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(read_files, '_FEW', 0)
    monkeypatch.setattr(read_files, 'ProcessPoolExecutor', Dying)
    with pytest.raises(UserError, match='--jobs 3: a process that reads images died'):
        list(read_pairs(pairs_of(samples), jobs=3))


@pytest.mark.parametrize(
    ('content', 'problem'),
    [(b'', 'empty file'), (b'<html>', 'not an image'), (None, 'Is a directory')],
)
def test_names_what_is_wrong(content: bytes | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    path.mkdir() if content is None else path.write_bytes(content)
    facts = read_pair(Pair(str(path), str(path)))
    assert (facts.problem, facts.labels_problem) == (problem, problem)


@pytest.mark.parametrize('ending', ['jpg', 'png', 'bmp'])
def test_cut_off_pictures_are_recognised(ending: str, tmp_path: Path) -> None:
    """OpenCV fills some of them up in grey and says nothing."""
    path = tmp_path / f'a.{ending}'
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    assert read_pair(Pair(str(path))).size == (50, 40)
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    assert 'truncated' in read_pair(Pair(str(path))).problem
    path.write_bytes(content + b'\n\n')  # what some programs add is no harm
    assert read_pair(Pair(str(path))).problem == ''


def test_sizes_are_those_of_the_turned_picture(tmp_path: Path) -> None:
    image = Image.new('RGB', (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'a.jpg', exif=exif)
    facts = read_pair(Pair(str(tmp_path / 'a.jpg')))
    assert facts.turned
    assert facts.size == (4, 8)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.bool_])
def test_counts_ids_of_any_type(dtype: type, tmp_path: Path) -> None:
    labels = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    Image.fromarray(labels).save(tmp_path / 'a.png')
    facts = read_pair(Pair(str(tmp_path / 'a.png'), str(tmp_path / 'a.png')))
    expected = {0: 2, 1: 4}
    assert {int(key): count for key, count in facts.counts.items()} == expected
