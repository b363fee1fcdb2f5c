"""Read, set and keep the random states of a process."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor | float | None]


def read_random_state() -> State:
    """Return the states of Python, numpy and torch, and of the current CUDA device, if any."""
    _, words, gauss = random.getstate()
    _, keys, *numbers, cached = np.random.get_state()
    state: State = {
        'python': torch.tensor(words),
        'python_gauss': gauss,
        'numpy': torch.from_numpy(np.asarray([*keys, *numbers], dtype=np.int64)),
        'numpy_gauss': float(cached),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set states that :func:`read_random_state` returned, in this or in another process.

    Raises:
        KeyError, RuntimeError, TypeError, ValueError: ``state`` is not such a state.
    """
    words = tuple(state['python'].tolist())
    *keys, position, has_gauss = state['numpy'].tolist()
    if (len(words), len(keys)) != (625, 624):
        raise ValueError('expected the states of two Mersenne Twisters')
    torch.set_rng_state(state['torch'])
    random.setstate((3, words, state['python_gauss']))
    legacy = ('MT19937', np.asarray(keys, np.uint32), position, has_gauss, state['numpy_gauss'])
    np.random.set_state(legacy)
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random states at the end, whatever was drawn within."""
    state = read_random_state()
    try:
        yield
    finally:
        set_random_state(state)
