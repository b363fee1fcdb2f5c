"""Errors that users can fix, and how the tools print them."""

import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmconvnext.processes import is_first_process

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class UserError(Exception):
    """The input is wrong, not the program; the one-line message says what to do.

    ``everywhere`` means that all processes of the run raise it, so that it is printed once;
    ``silent``, that another process or the launcher prints it.
    """

    everywhere = silent = False


class ArgumentError(UserError, ValueError):
    """An argument, usually a value in a config, is not allowed."""


class CheckpointError(UserError):
    """A checkpoint is missing, unsafe or does not fit."""


class DivergenceError(UserError):
    """A loss, gradient or weight is NaN or infinite, so that training cannot continue."""


class MissingOperatorError(UserError):
    """A compiled operator of mmcv was called that neither mmcv nor this package provides."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a :class:`UserError` as one line on stderr and exit with code 1.

    An interrupt or a closed pipe also ends the program without a traceback.
    """
    logging.raiseExceptions = False  # no traceback if a log cannot be written
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # for characters such as half of a surrogate pair
            stream.reconfigure(errors='backslashreplace')
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)  # the exit code that shells use
    except BrokenPipeError:
        # The reader has closed the pipe; Python would fail again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _OF_THE_DISK or (error.errno == errno.EACCES and not error.filename):
            raise
        where = error.filename or 'an output file'
        if error.errno == errno.EACCES:
            sys.exit(f'error: {where}: {error.strerror}; change its permissions or choose another')
        sys.exit(
            f'error: {where}: could not be written: {error.strerror}; free space or write elsewhere'
        )
    except UserError as error:
        if error.silent or (error.everywhere and not is_first_process()):
            sys.exit(1)
        # An error from a data loader's worker starts with the worker's traceback.
        told = re.fullmatch(
            r'Caught \w+ in DataLoader worker .*\n[\w.]+Error: (.*)\n?', str(error), re.S
        )
        sys.exit(f'error: {told[1].strip() if told else error}')
