import pytest

from mmconvnext.errors import CheckpointError, UserError, one_line_errors


@pytest.mark.parametrize('kind', [UserError, CheckpointError])
def test_one_line_errors_exit_without_a_traceback(kind: type) -> None:
    with pytest.raises(SystemExit, match=r'^error: expected this, got that$'), one_line_errors():
        raise kind('expected this, got that')
    with pytest.raises(ZeroDivisionError), one_line_errors():
        _ = 1 / 0
