"""One training at a time in a work dir."""

import errno
import fcntl
from pathlib import Path

import pytest

from mmconvnext.command_line import work_dir
from mmconvnext.errors import UserError


def test_another_training_waits_for_the_end_of_the_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(work_dir, '_PATIENCE', 0.2)
    run = tmp_path / 'run'
    with work_dir.hold(str(run)):
        with (
            pytest.raises(UserError, match='expected no other training in this work dir'),
            work_dir.hold(str(run)),
        ):
            pass
        with work_dir.hold(str(tmp_path / 'other')):
            pass
        monkeypatch.setenv('RANK', '1')
        with work_dir.hold(str(run), 'pytorch'):
            pass  # a process of the same run
        (run / 'log').write_text('')
    monkeypatch.delenv('RANK')
    with work_dir.hold(str(run)):
        pass


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, 'no locks')

    monkeypatch.setattr(fcntl, 'flock', fail)
    with work_dir.hold(str(tmp_path / 'run')):
        (tmp_path / 'run' / 'log').write_text('')
    assert (tmp_path / 'run' / 'log').is_file()


def test_an_empty_work_dir_does_not_stay(tmp_path: Path) -> None:
    with pytest.raises(UserError), work_dir.hold(str(tmp_path / 'run')):
        raise UserError('no weights')
    assert not (tmp_path / 'run').exists()
