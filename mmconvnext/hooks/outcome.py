"""What the first process meets in writing, all processes of a run meet."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import broadcast_object_list, get_world_size

from mmconvnext.errors import CheckpointError, UserError


@contextmanager
def shared_outcome(*, together: bool = True) -> Iterator[None]:
    """Have all processes, if they enter it ``together``, raise what the first one raises in it.

    Else they would wait for it in their next step for ever.

    Raises:
        UserError: of the first process; what was an OSError there, too.
    """
    error = None
    try:
        yield
    except UserError as caught:
        error = caught
    except OSError as caught:
        error = CheckpointError(
            f'{caught.filename or "a file"}: could not be written ({caught.strerror})'
        )
    if together and get_world_size() > 1:
        told = [error and (type(error), str(error))]
        broadcast_object_list(told)
        if told[0] is not None:
            kind, message = told[0]
            error = told_everywhere(kind(message))
    if error is not None:
        raise error


def told_everywhere(error: UserError) -> UserError:
    """The error, which all processes of the run raise alike: one of them is to print it."""
    error.everywhere = get_world_size() > 1
    return error
