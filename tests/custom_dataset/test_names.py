"""Configs for a person's own data, whose names mmengine would interpret or run."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mmconvnext.custom_dataset.dataset import OwnData, write_custom_config
from mmconvnext.custom_dataset.schedule import Length
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError
from tests.config.foreign import NAMES, SURROGATES, TEXT
from tests.custom_dataset.test_dataset import ATTO, own_coco, own_labels

# A folder's name holds no slash and no NUL, and names of other bytes are refused.
FOLDERS = [
    'x{{$A:.+}}',
    "it's }}',__import__('os').system('touch ran'),#",
    '{{ fileDirname }} """ \\',
    'a\nb\x85c\u2028',
    'ﬁ 👩\u200d🚀 \u202e עברית',
]


@pytest.fixture(scope='module')
def detection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'detection'
    return write_detection_samples(root, training=2, validation=1, size=64)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('written')


@pytest.fixture(autouse=True)
def variable(monkeypatch) -> None:
    """An environment variable that templates name."""
    monkeypatch.setenv('A', 'interpreted')


def renamed(root: Path, names: list[str], folder: Path) -> OwnData:
    """The data in these files, their first categories called so."""
    for split in ('train', 'val'):
        content = json.loads((root / f'annotations/instances_{split}2017.json').read_text())
        for category, name in zip(content['categories'], names):
            category['name'] = name
        (folder / f'{split}.json').write_text(json.dumps(content))
    images = (str(root / f'{split}2017') for split in ('train', 'val'))
    return OwnData(*images, *(str(folder / f'{split}.json') for split in ('train', 'val')))


def four(names: list[str]) -> list[str]:
    return [*names, *(f'_{place}_of_others' for place in range(4))][:4]


@settings(max_examples=10, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4, unique=True))
@example(list(NAMES[:4]))
@example(list(NAMES[4:8]))
def test_categories_are_read_as_they_were_written(
    detection: Path, folder: Path, names: list[str]
) -> None:
    data = renamed(detection, names := four(names), folder)
    write_custom_config(ATTO['mask_rcnn'], folder / 'mine.py', data, Length(), force=True)
    config = Config.fromfile(folder / 'mine.py')
    assert config.classes == tuple(names)
    for split in ('train', 'val', 'test'):
        assert config[f'{split}_dataloader'].dataset.metainfo.classes == tuple(names)


@settings(max_examples=10, deadline=None)
@given(st.lists(TEXT.filter(str.strip), min_size=2, max_size=6, unique=True))
@example(list(NAMES[:6]))
@example(list(NAMES[6:]))
def test_classes_are_read_as_they_were_written(
    samples: Path, folder: Path, names: list[str]
) -> None:
    names = [*names, *(f'_{place}_of_others' for place in range(6))][:6]
    data = own_labels(samples, classes=names)
    write_custom_config(ATTO['upernet'], folder / 'mine.py', data, Length(), force=True)
    assert Config.fromfile(folder / 'mine.py').metainfo.classes == tuple(names)


@pytest.mark.parametrize('name', FOLDERS)
def test_folders_and_files_are_found_again(
    name: str, detection: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'data' / name
    root.parent.mkdir()
    os.symlink(detection, root)
    base = tmp_path / name / f'{name}.py'
    base.parent.mkdir()
    base.write_text(f'_base_ = {ATTO["mask_rcnn"]!r}\n')
    out = tmp_path / 'out' / name / f'{name}.py'
    write_custom_config(str(base), out, own_coco(root), Length())
    config = Config.fromfile(out)
    assert config.data_root == str(root)
    assert config.val_evaluator.ann_file == f'{root}/annotations/instances_val2017.json'
    assert config.model.roi_head.mask_head.num_classes == 4
    assert not list(tmp_path.rglob('ran'))
    assert 'interpreted' not in str(config)


def test_a_file_s_own_name_is_read_as_it_was_written(detection: Path, tmp_path: Path) -> None:
    data = renamed(detection, four(NAMES[:4]), tmp_path)
    name = "{{$A:1}} ' it's"
    os.rename(tmp_path / 'val.json', tmp_path / f'{name}.json')
    data = OwnData(
        *(data.train_images, data.val_images, data.train_ann), str(tmp_path / f'{name}.json')
    )
    write_custom_config(ATTO['mask_rcnn'], tmp_path / 'mine.py', data, Length())
    config = Config.fromfile(tmp_path / 'mine.py')
    assert config.val_evaluator.ann_file.endswith(f'/{name}.json')
    assert config.classes == NAMES[:4]


def test_names_that_nothing_can_print_are_refused(detection, samples, tmp_path: Path) -> None:
    names = [*'abcde', SURROGATES]
    for base, data in (
        ('mask_rcnn', renamed(detection, names[-2:], tmp_path)),
        ('upernet', own_labels(samples, classes=names)),
    ):
        with pytest.raises(UserError, match='expected names in valid Unicode') as caught:
            write_custom_config(ATTO[base], tmp_path / 'mine.py', data, Length())
        assert str(caught.value).isprintable()
    assert not (tmp_path / 'mine.py').exists()


def test_paths_that_would_be_others_are_refused(detection: Path, tmp_path: Path) -> None:
    data = own_coco(detection)
    (tmp_path / 'a::b').mkdir()
    base = tmp_path / 'a::b' / 'base.py'
    base.write_text(f'_base_ = {ATTO["mask_rcnn"]!r}\n')
    for place, told in (
        (base, 'no such config file'),
        (Path('\udcff.py'), 'expected a path in UTF-8'),
    ):
        with pytest.raises(UserError, match=told) as caught:
            write_custom_config(str(place), tmp_path / 'mine.py', data, Length())
        assert '\n' not in str(caught.value)
        str(caught.value).encode()
    assert not (tmp_path / 'mine.py').exists()


def test_a_base_in_a_folder_that_names_a_package(tmp_path: Path, monkeypatch, detection) -> None:
    (tmp_path / 'mmseg::x').mkdir()
    monkeypatch.chdir(tmp_path / 'mmseg::x')
    Path('base.py').write_text(f'_base_ = {ATTO["mask_rcnn"]!r}\n')
    with pytest.raises(UserError, match=r'without `::`, which'):
        write_custom_config('base.py', tmp_path / 'mine.py', own_coco(detection), Length())
