from pathlib import Path, PurePath

import pytest

from mmconvnext.errors import UserError
from mmconvnext.inference.inputs import _number, find_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        *('b.jpg', 'a.PNG', 'notes.txt', '.hidden.png', 'film.mp4', 'day/b.jpg', 'night/b.jpg'),
        *('.cache/c.png', 'empty/readme', 'same/x.jpg', 'same/x.png'),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def found(*named: object, **options: Path) -> dict[str, str]:
    """Names of the results by path below the folder of the test."""
    return {str(one.path): str(one.name) for one in find_inputs([*map(str, named)], **options)}


def test_a_folder_gives_the_pictures_in_it_and_below_by_their_paths(folder) -> None:
    inputs = find_inputs([str(folder)])
    names = ['a', 'b', 'day/b', 'night/b', 'same/x.jpg', 'same/x.png']
    assert [str(one.name) for one in inputs] == names
    assert str(inputs[2].given) == 'day/b.jpg'
    assert not any(one.is_video for one in inputs)


def test_files_are_taken_whatever_their_suffix(folder) -> None:
    inputs = find_inputs([str(folder / name) for name in ('notes.txt', 'film.mp4', '.hidden.png')])
    assert [str(one.name) for one in inputs] == ['notes', 'film', '.hidden']
    assert [one.is_video for one in inputs] == [False, True, False]


def test_globs_go_through_folders_and_leave_other_files(folder) -> None:
    assert list(found(folder / '*')) == [
        str(folder / name) for name in ('a.PNG', 'b.jpg', 'film.mp4')
    ]
    assert len(found(folder / '**' / 'b.jpg')) == 3


def test_results_of_the_same_name_do_not_meet(folder) -> None:
    names = found(folder / 'day', folder / 'night', folder / 'a.PNG')
    assert list(names.values()) == ['day/b', 'night/b', 'a']
    assert list(found(folder / 'same' / 'x.jpg', folder / 'same' / 'x.png').values()) == [
        'x.jpg',
        'x.png',
    ]


def test_results_of_the_same_names_in_the_same_folders_keep_their_suffix(tmp_path) -> None:
    paths = [tmp_path / name for name in ('p/x.jpg', 'p/x.png', 'q/x.jpg', 'q/x.png', 'r/x.jpg')]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(found(*paths).values()) == ['p/x.jpg', 'p/x.png', 'q/x.jpg', 'q/x.png', 'r/x']


def test_names_are_unique_where_case_does_not_count_and_when_all_else_meets(tmp_path) -> None:
    for name in ('p/x.jpg', 'q/X.jpg', 'x.jpg/a.png', 'x.jpg/a.jpg', 'r/a.jpg.gif'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(found(tmp_path / 'p', tmp_path / 'q').values()) == ['p/x', 'q/X']
    names = found(tmp_path / 'x.jpg', tmp_path / 'r')
    assert sorted(names.values()) == ['a.jpg.gif', 'a.jpg.jpg', 'a.png']
    assert [str(name) for name in _number([PurePath('a'), PurePath('A'), PurePath('a')])] == [
        *('a', 'A-2', 'a-3'),
    ]


def test_a_file_named_twice_is_one_input(folder) -> None:
    assert len(found(folder, folder / 'b.jpg', folder / 'day' / '..' / 'b.jpg')) == 6


def test_earlier_results_are_no_input_unless_named(folder) -> None:
    assert not any('same' in path for path in found(folder, leave_out=folder / 'same'))
    assert found(folder / 'same' / 'x.jpg', leave_out=folder / 'same')
    with pytest.raises(UserError, match='none but earlier results'):
        found(folder / 'same', leave_out=folder)


@pytest.mark.parametrize(
    ('named', 'message'),
    [
        ('none.jpg', r'none.jpg: no such file or folder'),
        ('empty', r'expected a folder with images in it or below, found none \(\.avif'),
        ('*.gif', r'\*\.gif: expected a glob that matches images or videos, got none'),
    ],
)
def test_what_is_not_there_is_named(named, message, folder) -> None:
    with pytest.raises(UserError, match=message):
        found(folder / 'b.jpg', folder / named)
