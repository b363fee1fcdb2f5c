"""Raise the first process's write errors in all processes of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import broadcast_object_list, get_world_size

from mmconvnext.errors import CheckpointError, UserError


@contextmanager
def shared_outcome(*, together: bool = True) -> Iterator[None]:
    """Raise the first process's error in all processes, if they enter ``together``.

    Otherwise they would wait forever for the first process in their next step.

    Raises:
        UserError: the first process raised a UserError or an OSError.
    """
    error: UserError | None = None
    try:
        yield
    except UserError as caught:
        error = caught
    except OSError as caught:
        error = CheckpointError(
            f'{caught.filename or "a file"}: could not be written ({caught.strerror})'
        )
    if together and get_world_size() > 1:
        told: list = [error and (type(error), str(error))]
        broadcast_object_list(told)
        if told[0] is not None:
            kind, message = told[0]
            error = told_everywhere(kind(message))
    if error is not None:
        raise error


def told_everywhere(error: UserError) -> UserError:
    """Mark an error that all processes of the run raise, so that only one prints it."""
    error.everywhere = get_world_size() > 1
    return error
