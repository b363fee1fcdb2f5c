"""Strict loading of a backbone's weights, with a report.

mmengine's own ``Pretrained`` initialisation loads with ``strict=False`` and knows no ``model``
wrapper, so that an official ConvNeXt file loads nothing there and training starts from noise.
Here every tensor is accounted for or the load raises.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmconvnext.checkpoints.convert import describe_size, fit_shape, to_official
from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.errors import CheckpointError, first_line

# In the order they are looked for: the official files use `model`, mmengine's `state_dict`.
WRAPPERS = ('model', 'state_dict')


@dataclass
class LoadReport:
    """What a load did, by parameter name."""

    source: str
    family: str = ''
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # in the model only, and expected so
    unused: list[str] = field(default_factory=list)  # in the file only, and expected so

    def __str__(self) -> str:
        new, unused = _modules(self.new), _modules(self.unused)
        return (
            f'Loaded {len(self.loaded)} tensors from {self.source} ({self.family}); '
            f'new: {new or "none"}; left aside: {unused or "none"}'
        )


def read_checkpoint(checkpoint: str, map_location: str = 'cpu') -> dict:
    """Content of a checkpoint file or URL, opened with ``weights_only=True``.

    Args:
        checkpoint: File or URL.
        map_location: Device of the tensors; on ``'meta'`` the file is checked without reading
            them.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds more than weights. Nothing
            in it has been run then.
    """
    path = fetch(checkpoint)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a broken file makes torch.load fail in any way
        raise CheckpointError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    # torch names what it refused; the rest of its message tells how to let the file run code.
    refused = re.search(r'GLOBAL (\S+)|Unsupported class (\S+)', str(error))
    if refused:
        return (
            f'{path}: refused, nothing in it was run: it holds more than weights '
            f'({refused[1] or refused[2]}); convert it where you trust it, keeping tensors and '
            'plain values only'
        )
    detail = str(error).partition('WeightsUnpickler error: ')[2] or first_line(error)
    return (
        f'{path}: not a readable checkpoint ({detail.splitlines()[0]}); it may be incomplete or of '
        'another kind: delete it and fetch it again'
    )


def load_backbone(
    module: nn.Module,
    checkpoint: str,
    *,
    prefix: str | None = None,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> LoadReport:
    """Load a backbone's weights in place, every tensor accounted for.

    Args:
        module: The backbone.
        checkpoint: File or URL, of any family in :mod:`mmconvnext.checkpoints.formats`; of a
            whole model, its ``backbone`` is taken.
        prefix: What to take from the file, such as ``'backbone.'``; recognised where it is None.
        new: Beginnings of the names that the file may lack; these parameters stay as they are.
        unused: Beginnings of the names that the module may lack.

    Raises:
        CheckpointError: anything else is missing, unexpected or of another shape. The module
            is unchanged then.
    """
    content = _with_prefix(_unwrap(read_checkpoint(checkpoint), checkpoint), prefix, checkpoint)
    recognised = to_official(content, checkpoint)
    target = module.state_dict()
    state = {
        key: fit_shape(value, target[key].shape) if key in target else value
        for key, value in recognised.state.items()
    } | recognised.unknown
    require_fit(
        target,
        state,
        source=f'{checkpoint} ({recognised.format.name}; {describe_size(state)})',
        target_name=f'this backbone ({describe_size(target)})',
        new=new,
        unused=unused,
    )
    report = LoadReport(
        source=str(checkpoint),
        family=recognised.format.name,
        loaded=[key for key in state if key in target],
        new=[key for key in target if key not in state],
        unused=[key for key in state if key not in target] + recognised.outside,
    )
    module.load_state_dict({key: state[key] for key in report.loaded}, strict=False)
    print_log(str(report), logger='current')
    return report


def require_fit(
    target: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    source: str,
    target_name: str,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> None:
    """Check that ``state`` has what ``target`` has, by name and shape.

    Args:
        target: State dict of the module to load into.
        state: What is to be loaded.
        source: What the message calls ``state``.
        target_name: What it calls ``target``.
        new: Beginnings of the names that ``state`` may lack.
        unused: Beginnings of the names that ``target`` may lack.

    Raises:
        CheckpointError: with the names of everything that does not fit.
    """
    missing = [key for key in target if key not in state and not key.startswith(tuple(new))]
    unexpected = [key for key in state if key not in target and not key.startswith(tuple(unused))]
    reshaped = [
        f'{key} {tuple(state[key].shape)} for {tuple(target[key].shape)}'
        for key in state
        if key in target and state[key].shape != target[key].shape
    ]
    problems = {'missing': missing, 'unexpected': unexpected, 'of another shape': reshaped}
    if any(problems.values()):
        raise CheckpointError(
            f'{source} does not fit {target_name}: {_describe(problems)}. Check that the config '
            '(size, use_grn, num_classes) is the one of the file'
        )


def _unwrap(content: object, checkpoint: str) -> Mapping[str, Tensor]:
    if isinstance(content, Mapping):
        state = next((content[name] for name in WRAPPERS if name in content), content)
        if isinstance(state, Mapping) and any(torch.is_tensor(value) for value in state.values()):
            # `module.` is what torch's DataParallel puts before every key.
            return {
                key.removeprefix('module.'): value
                for key, value in state.items()
                if torch.is_tensor(value)
            }
    raise CheckpointError(
        f'{checkpoint}: expected a dict of tensors, bare or under '
        f'{" or ".join(map(repr, WRAPPERS))}; found none'
    )


def _with_prefix(
    state: Mapping[str, Tensor], prefix: str | None, checkpoint: str
) -> Mapping[str, Tensor]:
    if prefix is None:
        return state
    part = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not part:
        raise CheckpointError(
            f'{checkpoint}: expected keys that begin with {prefix!r}, found '
            f'{", ".join(list(state)[:3])}, …'
        )
    return part


def _describe(problems: Mapping[str, list[str]], shown: int = 5) -> str:
    parts = []
    for problem, keys in problems.items():
        if keys:
            more = f', … ({len(keys) - shown} more)' if len(keys) > shown else ''
            parts.append(f'{len(keys)} {problem}: {", ".join(keys[:shown])}{more}')
    return '; '.join(parts)


def _modules(keys: Sequence[str]) -> str:
    return ', '.join(dict.fromkeys(key.split('.')[0] for key in keys))
