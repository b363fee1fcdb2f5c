"""Errors while the parts of a run are built, told as mistakes in the config."""

import logging
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import print_log

from mmconvnext.errors import ArgumentError, UserError, first_line

_ERRORS = (AssertionError, AttributeError, ImportError, LookupError, TypeError, ValueError)


@contextmanager
def building(part: str) -> Iterator[None]:
    """Raise an :class:`ArgumentError` for an error of Python or a library while a part is built.

    The message names the class, or ``part`` if no class of a registry is being built. The
    traceback is logged at level DEBUG (``log_level`` of a training or test).
    """
    try:
        yield
    except UserError:
        raise
    except _ERRORS as error:
        print_log(traceback.format_exc(), 'current', logging.DEBUG)
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        built = [frame.f_locals['obj_cls'] for frame in frames if 'obj_cls' in frame.f_locals]
        name = getattr(built[-1], '__name__', part) if built else part
        # An assertion without a message is told by its source.
        line = traceback.extract_tb(error.__traceback__)[-1].line
        told = f'{type(error).__name__}: {first_line(error) if str(error) else line}'
        remedy = 'install or remove it' if isinstance(error, ImportError) else 'correct the config'
        raise ArgumentError(
            f'config: {name} could not be built ({textwrap.shorten(told, 300)}); {remedy}'
        ) from error
