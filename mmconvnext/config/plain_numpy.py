"""Build numpy arrays and numbers from a pickle, with a checked dtype state.

``numpy.dtype.__setstate__`` accepts any fields and parts from a file. They could make a number an
object at an address that the file chooses, which is dereferenced when the array is read.
"""

import pickle
import re
from typing import SupportsIndex

import numpy as np
from numpy._core import multiarray

_NATIVE = '<' if np.little_endian else '>'
_NAME = re.compile(r'b1|[iufc]\d{1,2}|[SUV]\d{0,9}|O8?')


def plain_dtype(name: str) -> np.dtype:
    """Return the dtype of a name such as ``'f8'``.

    Raises:
        pickle.UnpicklingError: the dtype is not one of numbers, strings, bytes or objects.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise pickle.UnpicklingError(f'expected a dtype of plain numbers, found {name!r:.100}')
    return np.dtype(name)


def require_plain(dtype: np.dtype, state: tuple) -> None:
    """Check a dtype's pickled state; a state that passes need not be set.

    Raises:
        pickle.UnpicklingError: the dtype has fields, parts or metadata, or a foreign byte order.
    """
    _, order, *structure = state[:5]
    if order not in ('|', '=', _NATIVE) or structure != [None] * 3 or len(state) != 8:
        raise pickle.UnpicklingError(
            f'expected arrays of plain numbers in the byte order of this machine, found {dtype} '
            f'with {state!r:.100}'
        )


class PlainDtype:
    """Placeholder for a dtype until its array is built; checks the state instead of setting it."""

    def __init__(self, name: str, *_: object) -> None:
        self.dtype = plain_dtype(name)

    def __setstate__(self, state: tuple) -> None:
        require_plain(self.dtype, state)


class PlainArray(np.ndarray):
    """An array whose state contains a :class:`PlainDtype`; it is pickled as a numpy array."""

    def __setstate__(self, state: tuple) -> None:
        try:
            version, shape, dtype, in_columns, content = state
            super().__setstate__((version, shape, _own(dtype), in_columns, content))
        except (TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f'expected the state of an array ({error})') from error

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def array_class(*_: object) -> None:
    """Placeholder for ``numpy.ndarray``, which pickles use only as an argument.

    Raises:
        pickle.UnpicklingError: the placeholder is called.
    """
    raise pickle.UnpicklingError('expected an array with its state, found a call of numpy.ndarray')


def empty_array(*_: object) -> PlainArray:
    """Return an array without its state: replaces ``numpy._core.multiarray._reconstruct``."""
    return np.empty(0, np.int8).view(PlainArray)


def number(dtype: PlainDtype, content: bytes) -> np.generic:
    """Return a numpy number from its bytes: replaces ``numpy._core.multiarray.scalar``."""
    return multiarray.scalar(_own(dtype), content)  # type: ignore[return-value]


def _own(dtype: object) -> np.dtype:
    if not isinstance(dtype, PlainDtype):
        raise pickle.UnpicklingError(f'expected a plain dtype, found {type(dtype).__name__}')
    return dtype.dtype
