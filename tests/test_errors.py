import errno

import pytest

from mmconvnext.errors import CheckpointError, UserError, one_line_errors


@pytest.mark.parametrize('kind', [UserError, CheckpointError])
def test_one_line_errors_exit_without_a_traceback(kind: type) -> None:
    with pytest.raises(SystemExit, match=r'^error: expected this, got that$'), one_line_errors():
        raise kind('expected this, got that')
    with pytest.raises(ZeroDivisionError), one_line_errors():
        _ = 1 / 0


def test_an_interrupt_and_a_closed_pipe_end_quietly(monkeypatch, tmp_path) -> None:
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise KeyboardInterrupt
    assert end.value.code == 130
    with (tmp_path / 'stdout').open('w') as stdout:
        monkeypatch.setattr('sys.stdout', stdout)
        with pytest.raises(SystemExit) as end, one_line_errors():
            raise BrokenPipeError
    assert end.value.code == 141


def test_a_full_disk_is_one_line() -> None:
    with (
        pytest.raises(SystemExit, match=r'log.txt: could not be written: No space left'),
        one_line_errors(),
    ):
        raise OSError(errno.ENOSPC, 'No space left on device', 'log.txt')
