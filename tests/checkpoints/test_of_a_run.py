"""Which checkpoint of a work dir a run goes on from."""

import shutil
from pathlib import Path

import pytest
import torch

from mmconvnext.checkpoints.of_a_run import (
    OVERWRITTEN,
    checkpoint_place,
    newest_whole,
    run_checkpoints,
    set_aside,
    step_of,
)


def write(folder: Path, name: str, iteration: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {'meta': {'iter': iteration}, 'state_dict': {'weight': torch.ones(500)}}
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ('name', 'step'),
    [
        ('iter_400.pth', 400),
        ('epoch_7.pth', 7),
        ('best_mIoU_iter_400.pth', None),
        ('iter_400.pth.partial', None),
        ('.iter_400.pth.partial', None),
        ('iter_.pth', None),
        ('pretrained.pth', None),
    ],
)
def test_names_tell_their_step(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_the_most_iterations_win_whatever_the_names_say(tmp_path: Path) -> None:
    write(tmp_path, 'epoch_3.pth', 300)
    middle = write(tmp_path, 'iter_350.pth', 350)  # of the fourth epoch, by a signal
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    assert newest_whole(tmp_path) == (middle, [])


@pytest.mark.parametrize('harm', ['cut', 'bit', 'empty', 'other'])
def test_what_is_not_whole_is_passed_over_and_named(tmp_path: Path, harm: str) -> None:
    older = write(tmp_path, 'iter_9.pth', 9)
    newer = write(tmp_path, 'iter_10.pth', 10)
    content = bytearray(newer.read_bytes())
    content[content.index(torch.ones(500).numpy().tobytes()) + 99] ^= 64
    broken = {'cut': newer.read_bytes()[:-90], 'bit': content, 'empty': b''}
    if harm == 'other':
        torch.save({'weight': torch.ones(3)}, newer)
    else:
        newer.write_bytes(broken[harm])
    found = newest_whole(tmp_path)
    assert found.path == older
    (reason,) = found.passed_over
    assert str(newer) in reason


def test_a_moved_work_dir_serves(tmp_path: Path) -> None:
    write(tmp_path / 'old', 'iter_5.pth', 5)
    shutil.move(tmp_path / 'old', tmp_path / 'new')
    assert newest_whole(tmp_path / 'new').path == tmp_path / 'new' / 'iter_5.pth'


def test_an_empty_and_a_missing_folder(tmp_path: Path) -> None:
    assert newest_whole(tmp_path) == (None, [])
    assert newest_whole(tmp_path / 'none') == (None, [])


def test_the_hook_s_options_tell_the_place(tmp_path: Path) -> None:
    hook = dict(out_dir=str(tmp_path / 'kept'), filename_tmpl='state-{}.pth')
    place = checkpoint_place(dict(default_hooks=dict(checkpoint=hook)), 'work_dirs/run/')
    assert place.folder == tmp_path / 'kept' / 'run'
    path = write(place.folder, 'state-4.pth', 4)
    assert run_checkpoints(*place) == [path]
    assert newest_whole(*place).path == path


def test_another_run_s_are_set_aside(tmp_path: Path) -> None:
    place = checkpoint_place({}, str(tmp_path))
    paths = [write(tmp_path, name, 1) for name in ('iter_1.pth', 'iter_2.pth')]
    write(tmp_path, 'best_mIoU_iter_1.pth', 1)
    (tmp_path / 'last_checkpoint').write_text('iter_2.pth')
    (tmp_path / 'mine.pth').write_text('not of the run')
    set_aside(place, paths[1:], whole_run=False)
    assert sorted(p.name for p in (tmp_path / OVERWRITTEN).iterdir()) == ['iter_2.pth']
    set_aside(place, paths, whole_run=True)
    assert {p.name for p in tmp_path.iterdir()} == {'mine.pth', OVERWRITTEN}
