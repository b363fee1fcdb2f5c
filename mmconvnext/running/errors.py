"""An answer instead of a traceback where the input, not the program, is wrong."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmconvnext.checkpoints.errors import CheckpointError
from mmconvnext.ops.extension import MissingOperatorError


class UserError(Exception):
    """Something a person can put right; the message is one line: expected, got, what to do."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that a person can put right into one line on stderr and exit code 1."""
    try:
        yield
    except (UserError, CheckpointError, MissingOperatorError) as error:
        sys.exit(f'error: {error}')
