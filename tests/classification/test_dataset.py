from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import DATASETS

from mmconvnext.classification import ImageFolder
from mmconvnext.data.images import name_unreadable_images
from mmconvnext.data.sample_set import write_image
from mmconvnext.errors import ArgumentError, UserError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='mmconvnext.PackImage')]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(('n02/b.JPEG', 'n02/a.jpg', 'n01/c.png', 'n03/d.webp')):
        write_image(tmp_path / 'train' / name, np.full((40, 50, 3), 40 * number, np.uint8))
    for name in ('n02/._b.jpg', 'n02/notes.txt', '.hidden/a.jpg', 'read.me'):
        file = tmp_path / 'train' / name
        file.parent.mkdir(exist_ok=True)
        file.write_text('no image')
    return tmp_path


def test_folders_sorted_are_the_labels(root: Path) -> None:
    dataset = DATASETS.build(
        dict(type='mmconvnext.ImageFolder', data_root=str(root), pipeline=PIPELINE)
    )
    assert dataset.metainfo['classes'] == ('n01', 'n02', 'n03')
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [(Path(one['img_path']).name, one['gt_label']) for one in found] == [
        ('c.png', 0),
        ('a.jpg', 1),
        ('b.JPEG', 1),
        ('d.webp', 2),
    ]
    packed = dataset[3]
    assert packed['inputs'].shape == (3, 40, 50)
    assert packed['data_samples'].gt_label.tolist() == [2]
    assert not dataset.data_list  # serialised


def test_names_from_a_file_hold_where_a_class_is_missing(root: Path) -> None:
    (root / 'names.txt').write_text('n03 crane, bird\nn01 tench, Tinca tinca\nn00 cat\nn02 shark\n')
    dataset = ImageFolder(str(root), class_names='names.txt')
    assert dataset.metainfo['classes'] == ('cat', 'tench', 'shark', 'crane')
    assert [dataset.get_data_info(i)['gt_label'] for i in range(4)] == [1, 2, 2, 3]


def test_lazily_it_knows_its_classes_and_lists_nothing(root: Path) -> None:
    (root / 'train' / 'n03' / 'd.webp').unlink()
    dataset = ImageFolder(str(root), lazy_init=True)
    assert len(dataset.metainfo['classes']) == 3
    with pytest.raises(ArgumentError, match=r'n03: expected images \(.*\), found none; fill'):
        dataset.full_init()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(data_prefix=dict(img_path='val')),
            'val: expected a folder .* FileNotFoundError; set',
        ),
        (
            dict(data_prefix=dict(img_path='train/n01')),
            'n01: expected one folder per class, found no',
        ),
        (dict(data_prefix=dict(img='train')), r'data_prefix: expected dict\(img_path=…\), got'),
        (dict(class_names='none.txt'), r'class_names: .*none\.txt: expected a text file'),
        (dict(class_names='short.txt'), r'train: expected the classes of short\.txt, got 2 others'),
        (dict(class_names='bad.txt'), r'bad\.txt, line 2: expected FOLDER NAME, .* got .n02'),
        (dict(metainfo=dict(classes=('a', 'b'))), 'metainfo: expected 3 classes, .* got 2'),
    ],
)
def test_mistakes_get_one_line(root: Path, options: dict, message: str) -> None:
    (root / 'short.txt').write_text('n01 tench\n')
    (root / 'bad.txt').write_text('n01 tench\nn02\nn03 crane')
    with pytest.raises(ArgumentError, match=message) as caught:
        ImageFolder(str(root), **options)
    assert '\n' not in str(caught.value)


def test_an_unreadable_picture_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadImageFromFile, 'transform', LoadImageFromFile.transform)
    (root / 'train' / 'n01' / 'c.png').write_bytes(b'')
    name_unreadable_images()
    dataset = ImageFolder(str(root), pipeline=PIPELINE)
    with pytest.raises(UserError, match=r'c\.png: expected a readable image'):
        dataset[0]
