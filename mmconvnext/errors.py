"""Errors that a person can put right, and how the tools say them."""

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
    """The input, not the program, is wrong; the message is one line: expected, got, what to do.

    ``everywhere`` says that all processes of the run raise it alike, so that it is printed once.
    """

    everywhere = False


class ArgumentError(UserError, ValueError):
    """An argument, most often a value of a config, is not possible."""


class CheckpointError(UserError):
    """A checkpoint is missing, unsafe or does not fit."""


class DivergenceError(UserError):
    """A loss, gradients or weights are NaN or infinite, so that going on would train nothing."""


class MissingOperatorError(UserError):
    """One of mmcv's compiled operators was called, and neither mmcv nor this package has it."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a :class:`UserError` into one line on stderr and exit code 1.

    An interrupt and a closed pipe end without a traceback.
    """
    logging.raiseExceptions = False  # a log that cannot be written is no reason for tracebacks
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # such as half of a surrogate pair in a class name
            stream.reconfigure(errors='backslashreplace')
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)  # as shells have it
    except BrokenPipeError:
        # Whoever read has enough; Python would complain again on closing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _OF_THE_DISK or (error.errno == errno.EACCES and not error.filename):
            raise
        where = error.filename or 'a file'
        if error.errno == errno.EACCES:
            sys.exit(f'error: {where}: {error.strerror}; change its permissions or give another')
        sys.exit(
            f'error: {where}: could not be written: {error.strerror}; make room or write elsewhere'
        )
    except UserError as error:
        if error.everywhere and not is_first_process():
            sys.exit(1)
        # From a worker of a data loader it comes with the worker's traceback before it.
        told = re.fullmatch(
            r'Caught \w+ in DataLoader worker .*\n[\w.]+Error: (.*)\n?', str(error), re.S
        )
        sys.exit(f'error: {told[1].strip() if told else error}')
