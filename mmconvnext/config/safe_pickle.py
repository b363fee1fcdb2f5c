"""Unpickle plain data; only the functions listed here can be called by a file."""

import io
import pickle
from collections import OrderedDict
from typing import IO, Any, ClassVar

import numpy as np
import torch
from numpy._core import multiarray

from mmconvnext.config.plain_numpy import array_class, plain_dtype, require_plain


def load_pickle(file: IO[bytes], **options: Any) -> object:
    """Return the data in a pickle file: containers, numbers, strings, arrays and tensors.

    ``options`` are those of ``pickle.load``.

    Raises:
        pickle.UnpicklingError: the file contains anything else.
    """
    return _Unpickler(file, **options).load()


# In Python, because the unpickler in C cannot check the states of arrays.
class _Unpickler(pickle._Unpickler):
    """Allows only the functions below, and sets states only of arrays."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> object:
        found = _ALLOWED.get(_TODAY.get(module, module), {}).get(name)
        if found is None:
            raise pickle.UnpicklingError(
                f'expected plain values, found {f"{module}.{name}"[:100]!r}, which could run code; '
                'load the file with pickle itself if you trust it'
            )
        return found

    def load_build(self) -> None:
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, np.dtype):
            require_plain(instance, state)  # checked, but not set
        elif type(instance) is np.ndarray:
            instance.__setstate__(state)
        else:
            raise pickle.UnpicklingError(f'found a {type(instance).__name__} with a state')

    dispatch[pickle.BUILD[0]] = load_build


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple, order: Any) -> np.ndarray:
    # A copy, because the buffer of an array is freed when its state is set.
    if type(buffer) not in (bytes, bytearray):
        raise pickle.UnpicklingError(f'expected the bytes of an array, found {type(buffer)}')
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype, content: bytes) -> object:
    if type(content) is not bytes:
        raise pickle.UnpicklingError(f'expected the bytes of a number, found {type(content)}')
    return multiarray.scalar(dtype, content)


def _latin1(text: str, encoding: str) -> bytes:
    # Python 3 pickles bytes for Python 2 this way.
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'expected bytes as latin1, found {encoding!r}')
    return text.encode('latin1')


def _storage(content: bytes) -> torch.storage.TypedStorage:
    return torch.load(io.BytesIO(content), weights_only=True)


def _tensor(storage: object, offset: int, size: tuple, stride: tuple, *_: object) -> torch.Tensor:
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError(f'expected the storage of a tensor, found {type(storage)}')
    return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())


_TODAY = {
    '__builtin__': 'builtins',
    'numpy.core.multiarray': 'numpy._core.multiarray',
    'numpy.core.numeric': 'numpy._core.numeric',
}
_ALLOWED: dict[str, dict[str, Any]] = {
    'builtins': {kind.__name__: kind for kind in (bytes, bytearray, complex, frozenset, set)},
    'collections': {'OrderedDict': OrderedDict},
    '_codecs': {'encode': _latin1},
    'numpy': {'dtype': lambda name, *_: plain_dtype(name), 'ndarray': array_class},
    # An array is empty until its state is set.
    'numpy._core.multiarray': {'_reconstruct': lambda *_: np.empty(0, 'i1'), 'scalar': _scalar},
    'numpy._core.numeric': {'_frombuffer': _from_buffer},
    'torch._utils': {'_rebuild_tensor_v2': _tensor},
    'torch.storage': {'_load_from_bytes': _storage},
}
