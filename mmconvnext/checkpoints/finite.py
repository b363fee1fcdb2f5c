"""Checks that no checkpoint with NaN or infinity is saved or resumed from."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from mmconvnext.errors import CheckpointError, DivergenceError

# Optimizer state in torch that has the shape of its parameter.
_AVERAGES = {'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg'}
# torch cannot compute the minimum of other types, such as an 8-bit optimizer's.
_CHECKED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Types of weights, batch counters and masks.
_READABLE = {*_CHECKED, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}


def require_readable(state: Mapping[str, Tensor], source: str) -> None:
    """Check that tensors are dense and have the usual types of weights and counters.

    Raises:
        CheckpointError: a tensor is sparse or has an unusual type; the message names it.
    """
    for key, value in state.items():
        if value.is_meta or value.layout != torch.strided or value.dtype not in _READABLE:
            kind = 'without values' if value.is_meta else f'{value.dtype}, {value.layout}'
            raise CheckpointError(
                f'{source}: expected dense tensors of ordinary types, found {key} ({kind}); '
                'convert it where it was made'
            )


def require_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Check that a checkpoint has finite numbers.

    Raises:
        CheckpointError: tensors contain NaN or infinity, or cannot be read; the message names
            them.
    """
    require_readable(state, source)
    if broken := [*_not_finite(state, 'state_dict')]:
        raise CheckpointError(
            f'{source}: expected finite numbers, found NaN or infinity in {len(broken)} tensors: '
            f'{", ".join(broken[:5])}; take another checkpoint of that run'
        )


def require_finite_run(content: Mapping, path: Path) -> None:
    """Check the trained tensors of a checkpoint before it is written.

    These are the weights, averaged weights included, and the optimizer's averages.

    Raises:
        DivergenceError: tensors contain NaN or infinity.
    """
    parts = ('state_dict', 'ema_state_dict', 'optimizer')
    if broken := [name for part in parts for name in _not_finite(content.get(part), part)]:
        raise DivergenceError(
            f'{path} is not written: expected finite weights, found NaN or infinity in '
            f'{", ".join(broken[:5])}; earlier checkpoints are good: resume from one '
            'with a lower learning rate'
        )


def require_optimizer_state(wrapper: OptimWrapper | OptimWrapperDict, source: str) -> None:
    """Check that the optimizer state from a checkpoint fits the parameters and is finite.

    torch checks neither shapes nor values.

    Raises:
        CheckpointError: a shape differs from the parameter's, or a value is NaN or infinite.
    """
    wrappers = wrapper.optim_wrappers if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}
    optimizers = [one.optimizer for one in wrappers.values()]
    # A ZeroRedundancyOptimizer steps an optimizer of this process's part.
    parts = [getattr(one, 'optim', one) for one in optimizers]
    states = [pair for part in parts for pair in part.state.items()]
    for parameter, state in states:
        for name in _AVERAGES & state.keys():
            value, expected = state[name], list(parameter.shape)
            shape = list(value.shape) if torch.is_tensor(value) else type(value).__name__
            if shape != expected and value is not None:
                raise CheckpointError(
                    f'{source}: {name} of the optimizer: expected the shape of its parameter, '
                    f'{expected}, got {shape}; the checkpoint is of another model, or damaged'
                )
    if any(name for _, state in states for name in _not_finite(state, 'state')):
        raise CheckpointError(
            f'{source}: expected a finite state of the optimizer, found NaN or infinity; take an '
            'earlier checkpoint, or its weights alone with --cfg-options load_from=FILE'
        )


def _not_finite(tensors: object, part: str) -> Iterator[str]:
    """Yield the names of tensors, in dicts at any depth, with NaN or infinity."""
    for key, value in tensors.items() if isinstance(tensors, Mapping) else ():
        if isinstance(value, Mapping):
            yield from (f'{part}.{name}' for name in _not_finite(value, str(key)))
        elif torch.is_tensor(value) and value.dtype in _CHECKED and not _is_finite(value):
            yield key if part == 'state_dict' else f'{part}.{key}'


def _is_finite(value: Tensor) -> bool:
    # Unlike isfinite(), minimum and maximum take no memory; NaN makes both of them NaN.
    return not value.numel() or all(math.isfinite(x) for x in value.detach().aminmax())
