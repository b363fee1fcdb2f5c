from pathlib import Path

import pytest

from mmconvnext.data.official import ADE20K, COCO
from mmconvnext.data.prepare import prepare, recognise
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS
from tests.data.archive_files import SMALL_ADE20K, SMALL_COCO, write_archives, write_zip


@pytest.mark.parametrize('dataset', [SMALL_ADE20K, SMALL_COCO], ids=lambda d: d.title)
def test_prepares_once(dataset, tmp_path: Path, capsys) -> None:
    archives, root = write_archives(dataset, tmp_path), tmp_path / 'root'
    assert prepare(dataset, root, archives)
    assert 'files unpacked' in capsys.readouterr().out
    assert all(part.count(root) == part.number for part in dataset.expected)
    assert not (root / '__MACOSX').exists()
    assert prepare(dataset, root, archives)
    assert 'already unpacked' in capsys.readouterr().out
    assert prepare(dataset, root), 'what is complete needs no archives'


def test_archives_in_the_data_root_need_not_be_named(tmp_path: Path) -> None:
    write_archives(SMALL_COCO, tmp_path)
    assert prepare(SMALL_COCO, tmp_path)


def test_what_is_missing_is_told_with_address_size_and_place(tmp_path: Path, capsys) -> None:
    train, val, _ = write_archives(SMALL_COCO, tmp_path)
    assert not prepare(SMALL_COCO, tmp_path / 'root', [val, train])
    told = capsys.readouterr().out
    place = tmp_path / 'root/annotations_trainval2017.zip'
    assert f'annotations_trainval2017.zip (about 253 MB) to {place}\n' in told
    assert 'train2017.zip (about 19.3 GB)' not in told


def test_other_numbers_are_told(tmp_path: Path, capsys) -> None:
    archives = write_archives(SMALL_ADE20K, tmp_path)
    prepare(SMALL_ADE20K, tmp_path, archives)
    (tmp_path / 'ADEChallengeData2016/images/validation/more.jpg').write_bytes(b'x')
    assert not prepare(SMALL_ADE20K, tmp_path)
    assert '3 ← differs' in capsys.readouterr().out


def test_archives_are_told_by_what_they_hold(tmp_path: Path) -> None:
    train, val, annotations = write_archives(SMALL_COCO, tmp_path)
    renamed = train.rename(tmp_path / 'download (1).zip')
    names = [recognise(path, SMALL_COCO).name for path in (renamed, val, annotations)]
    assert names == ['train2017.zip', 'val2017.zip', 'annotations_trainval2017.zip']


def test_another_archive_is_named_before_anything_is_written(tmp_path: Path) -> None:
    archives = write_archives(SMALL_COCO, tmp_path)
    other = write_zip(tmp_path / 'val.zip', {'test2017/000000000001.jpg': b'x'})
    with pytest.raises(UserError, match=r'expected train2017\.zip.*got a zip file of test2017;'):
        prepare(SMALL_COCO, tmp_path / 'root', [*archives, other])
    assert not (tmp_path / 'root').exists()
    images = write_zip(tmp_path / 'i.zip', {'annotations/image_info_test2017.json': b'{}'})
    with pytest.raises(UserError, match='got a zip file of annotations'):
        recognise(images, SMALL_COCO)


def test_the_layout_is_the_configs_own() -> None:
    ade20k = (CONFIGS / '_base_/datasets/ade20k.py').read_text()
    assert f"data_root = 'data/ade/{ADE20K.archives[0].folder}'" in ade20k
    coco = (CONFIGS / '_base_/datasets/coco_instance.py').read_text()
    assert "data_root = 'data/coco'" in coco
    assert all(part.pattern.split('/')[0] in coco for part in COCO.expected)
    assert 'instances_train2017.json' in coco
