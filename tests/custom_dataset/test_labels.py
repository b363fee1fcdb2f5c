from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmconvnext.custom_dataset.labels import (
    Meaning,
    decide,
    find_labelled,
    read_classes,
    read_labelled,
    require_two_classes,
)
from mmconvnext.errors import UserError


def ids(*values: int) -> Counter[int]:
    return Counter(dict.fromkeys(values, 10))


@pytest.mark.parametrize(
    ('found', 'classes', 'reduced', 'names'),
    [
        ((0, 1, 2), None, False, ('class_0', 'class_1', 'class_2')),
        ((0, 1, 2, 255), None, False, ('class_0', 'class_1', 'class_2')),
        ((1, 2), None, True, ('class_1', 'class_2')),
        ((0, 1), ('a', 'b'), False, ('a', 'b')),
        ((0, 1, 2), ('a', 'b'), True, ('a', 'b')),
        ((1, 2, 255), ('a', 'b'), True, ('a', 'b')),
        ((0, 1), ('a', 'b', 'c'), False, ('a', 'b', 'c')),
        ((0, 1, 255), ('a',), False, ('background', 'a')),
    ],
)
def test_tells_what_ids_mean(found, classes, reduced: bool, names) -> None:
    meaning = decide(ids(*found), classes, None, None)
    assert meaning.reduce_zero_label is reduced
    assert meaning.classes == names
    assert meaning.ignore_index == 255
    assert ('k - 1' in meaning.why) is reduced


def test_what_is_asked_for_counts_more() -> None:
    meaning = decide(ids(0, 1, 2), None, True, None)
    assert meaning.classes == ('class_1', 'class_2')
    assert '--no-reduce-zero-label' not in meaning.why
    assert decide(ids(1, 2), None, False, None).classes == ('class_0', 'class_1', 'class_2')
    meaning = decide(ids(0, 1, 9), ('a', 'b'), None, 9)
    assert (meaning.ignore_index, meaning.reduce_zero_label) == (9, False)
    assert '9 (33.3%) is ignored' in meaning.why


@pytest.mark.parametrize(
    ('found', 'classes', 'reduce', 'ignored', 'part'),
    [
        ((255,), None, None, None, 'got only 255'),
        ((0, 255), None, None, None, 'write 1 instead of 255'),
        ((0, 255), ('a',), None, None, 'write 1 instead of 255'),
        ((0, 128), ('a', 'b'), None, None, 'write 1 instead of 128, with the command of docs/'),
        ((0, 128), None, None, None, 'write 1 instead of 128'),
        ((0, 127, 255), ('a', 'b', 'c'), None, None, '1 instead of 127, 2 instead of 255'),
        ((10, 20), ('a', 'b'), None, None, '0 instead of 10, 1 instead of 20'),
        ((0, 1, 7), ('a', 'b'), None, None, 'expected ids from 0 to 1 for 2 classes, got 0, 1, 7'),
        ((0, 1, 2), ('a', 'b'), False, None, 'got 0…2'),
        ((0, 1), None, True, 1, 'leave out one of the two'),
        ((0, 1), None, None, 0, 'give --reduce-zero-label'),
        ((0, 1, 2, 255), None, None, 2, 'found 255 in the label maps'),
    ],
)
def test_what_cannot_be_is_one_line(found, classes, reduce, ignored, part: str) -> None:
    with pytest.raises(UserError) as caught:
        decide(ids(*found), classes, reduce, ignored)
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('found', 'reduced', 'part'),
    [
        ((255,), False, 'got only ignored pixels'),
        ((0,), False, 'got only id 0:'),
        ((1, 255), False, 'got only id 1:'),
        ((0, 1), True, 'apart from 0, which is ignored: .* give --no-reduce-zero-label'),
    ],
)
def test_a_single_class_cannot_be_learnt(found, reduced: bool, part: str) -> None:
    with pytest.raises(UserError, match=part):
        require_two_classes(ids(*found), Meaning(('a',), reduced, 255, ''))
    require_two_classes(ids(0, 1, 2), Meaning(('a', 'b', 'c'), False, 255, ''))


def test_classes_come_from_words_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / 'names.txt'
    file.write_text("Häuser\n\nman's hat\n", encoding='utf-8')
    assert read_classes([str(file)]) == ('Häuser', "man's hat")
    assert read_classes(['a', 'b']) == ('a', 'b')
    assert read_classes(['a' * 300]) == ('a' * 300,), 'a name that no file can have'
    assert read_classes(['a\0']) == ('a\0',)
    assert read_classes(None) is None
    with pytest.raises(UserError, match="got 'a' twice"):
        read_classes(['a', 'a'])
    for empty in ('', ' '):
        with pytest.raises(UserError, match='got an empty one'):
            read_classes([empty, 'b'])
    file.write_text('\n')
    with pytest.raises(UserError, match='got an empty file'):
        read_classes([str(file)])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    for folder in ('images/a', 'labels/a'):
        (tmp_path / folder).mkdir(parents=True)
    for name in ('one', 'one_more'):
        Image.new('RGB', (4, 3)).save(tmp_path / f'images/a/{name}.jpeg')
        Image.new('L', (4, 3), 1).save(tmp_path / f'labels/a/{name}_mask.png')
    return str(tmp_path / 'images'), str(tmp_path / 'labels')


def test_finds_out_how_files_are_named(folders: tuple[str, str]) -> None:
    found = find_labelled(*folders)
    assert (found.image_suffix, found.labels_suffix) == ('.jpeg', '_mask.png')
    assert found.names == ['a/one', 'a/one_more']
    assert read_labelled(found) == ({1: 24}, {(4, 3)})


def test_folders_that_do_not_go_together(folders: tuple[str, str], tmp_path: Path) -> None:
    images, labels = folders
    (tmp_path / 'labels/a/one_more_mask.png').unlink()
    with pytest.raises(UserError, match=r'expected a/one_more_mask\.png .* 1 of 2 images'):
        find_labelled(images, labels)
    (tmp_path / 'labels/a/one_mask.png').rename(tmp_path / 'labels/a/two.png')
    with pytest.raises(UserError, match=r'with the name of .*, got names such as a/two\.png'):
        find_labelled(images, labels)
    (tmp_path / 'images/b.png').touch()
    with pytest.raises(UserError, match=r'got 2 \.jpeg, 1 \.png'):
        find_labelled(images, labels)
    (tmp_path / 'empty').mkdir()
    for wrong in ('empty', 'nowhere'):
        with pytest.raises(UserError, match='found none; correct the path'):
            find_labelled(str(tmp_path / wrong), labels)


def test_colours_are_no_ids(folders: tuple[str, str], tmp_path: Path) -> None:
    found = find_labelled(*folders)
    Image.new('RGB', (4, 3)).save(tmp_path / 'labels/a/one_mask.png')
    with pytest.raises(UserError, match=r'one_mask\.png: expected one channel .* got 3 channels'):
        read_labelled(found)
    Image.fromarray(np.full((3, 4), 300, np.uint16)).save(tmp_path / 'labels/a/one_mask.png')
    with pytest.raises(UserError, match='got ids 300'):
        read_labelled(found)
    Image.fromarray(np.full((3, 4), -1, np.int32)).save(tmp_path / 'labels/a/one_mask.tif')
    (tmp_path / 'labels/a/one_mask.tif').rename(tmp_path / 'labels/a/one_mask.png')
    with pytest.raises(UserError, match='got ids -1;'):
        read_labelled(found)


def test_a_file_of_classes_in_another_encoding_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'a.txt').write_bytes(b'H\xe4user\n')
    with pytest.raises(UserError, match='expected a file of names in UTF-8') as caught:
        read_classes([str(tmp_path / 'a.txt')])
    assert '\n' not in str(caught.value)


def test_hidden_files_and_broken_links(folders: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / 'images/a/._one.jpeg').touch()
    assert find_labelled(*folders).names == ['a/one', 'a/one_more']
    (tmp_path / 'images/two.jpeg').symlink_to('nowhere')
    with pytest.raises(UserError, match=r'two\.jpeg: expected a file, got a link to nowhere'):
        find_labelled(*folders)
    (tmp_path / 'images/two.jpeg').unlink()
    (tmp_path / 'images/.ipynb_checkpoints').mkdir()
    (tmp_path / 'images/.ipynb_checkpoints/one.jpeg').touch()
    with pytest.raises(UserError, match=r'no hidden folders, got \.ipynb_checkpoints/one\.jpeg'):
        find_labelled(*folders)
