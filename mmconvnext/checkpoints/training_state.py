"""Read a run's state from a checkpoint as plain data: no code is run, no foreign path is used."""

import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, TypeGuard

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmconvnext.checkpoints.meta import find_meta

# Entries that the resumed run sets itself.
_SET_ANEW = frozenset(
    ['cfg', 'dataset_meta', 'experiment_name', 'last_ckpt', 'loop_stage']
    + ['mmengine_version', 'seed']
)
_DEEPEST = 8  # nested containers; far more than in any real message hub
_MOST = 10**5  # values in one entry of a message hub
_PATH = re.compile(r'[/\\]|^~|^[A-Za-z]:')


def as_data(checkpoint: Mapping, folder: Path) -> tuple[dict, list[str]]:
    """Return a checkpoint without entries that mmengine would run or use as paths on resuming.

    mmengine 0.10.7 runs ``meta['config']`` as a config (runner.py, ``resume``), and its hooks
    delete the files that ``best_ckpt`` and ``keep_ckpt_ids`` of the message hub name. A path is
    replaced by the file of the same name in ``folder``, where the run's checkpoints are.

    Returns:
        The checkpoint with plain ``meta`` and ``message_hub``, and a notice for each dropped entry.
    """
    content = dict(checkpoint)
    notices: list[str] = []
    if 'meta' in content:
        content['meta'] = _plain_meta(find_meta(content))
    hub = content.get('message_hub')
    if hub is not None:
        content['message_hub'] = _plain_hub(hub, folder, notices)
    return content, notices


def _plain_meta(meta: Mapping) -> dict[str, object]:
    """Return counters, seed and the data's metainfo, without any config."""
    counts = ('epoch', 'iter', 'epoch_length', 'seed')
    kept = {key: meta[key] for key in counts if is_count(meta.get(key))}
    if isinstance(meta.get('dataset_meta'), Mapping):
        # Only compared with the run's own classes: a class may be called `n/a`.
        kept['dataset_meta'] = _plain(meta['dataset_meta'], paths=True)
    return kept


def _plain_hub(hub: object, folder: Path, notices: list[str]) -> dict[str, dict]:
    hub = hub if isinstance(hub, Mapping) else {}
    scalars, info = _mapping(hub, 'log_scalars'), _mapping(hub, 'runtime_info')
    kept: dict[str, dict] = {'log_scalars': {}, 'runtime_info': {}}
    for name, history in scalars.items():
        plain = _plain_history(history)
        if plain is None:
            notices.append(
                f'message hub: {reprlib.repr(name)} is not a history of numbers; it is dropped'
            )
        else:
            kept['log_scalars'][name] = plain
    for name, value in info.items():
        if name in _SET_ANEW or _is_best(name, value):
            continue
        found = _inside(value, folder) if _is_path(value) else _plain(value)
        if found is None and value is not None:
            notices.append(
                f'message hub: {reprlib.repr(name)}: expected plain values, or a file in {folder}, '
                f'got {reprlib.repr(value)}; it is dropped'
            )
        else:
            kept['runtime_info'][name] = found
    resumed = _mapping(hub, 'resumed_keys')
    known = {*kept['log_scalars'], *kept['runtime_info']}
    kept['resumed_keys'] = {key: resumed[key] is not False for key in resumed if key in known}
    return kept


def _is_best(name: str, value: object) -> bool:
    """Return whether an entry is about best checkpoints, which CheckpointHook finds itself."""
    if name.startswith('best_score'):
        return finite_number(value) is not None
    is_name = isinstance(value, str) and PureWindowsPath(value).name.startswith('best_')
    return name.startswith('best_ckpt') and (is_name or value is None)


def _mapping(hub: Mapping, name: str) -> dict[str, object]:
    value = hub.get(name)
    found = value if isinstance(value, Mapping) else {}
    return {key: value for key, value in found.items() if isinstance(key, str)}


def _plain_history(history: Any) -> HistoryBuffer | None:
    """Copy the numbers to a new buffer: an unpickled buffer may have anything as its methods."""
    if type(history) is not HistoryBuffer:
        return None
    state = vars(history)
    try:
        values = np.asarray(state['_log_history'], dtype=np.float64)
        counts = np.asarray(state['_count_history'], dtype=np.float64)
        length = int(state['max_length'])
        if values.ndim != 1 or values.shape != counts.shape or not 0 < length <= 10**7:
            return None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return HistoryBuffer(values[-length:], counts[-length:], length)


def _plain(
    value: object, paths: bool = False, depth: int = _DEEPEST, left: list[int] | None = None
) -> object:
    """Copy to plain containers; other values become None, and so do paths unless ``paths``."""
    left = left or [_MOST]
    left[0] -= 1  # containers that contain each other many times would take forever
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return None if _is_path(value) and not paths else value
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in 'biuf':
        return value
    if torch.is_tensor(value) and value.layout == torch.strided and value.numel() < 10**6:
        return value
    if depth == 0 or left[0] < 0:
        return None
    if isinstance(value, Mapping):
        pairs = ((k, v) for k, v in value.items() if isinstance(k, str | int))
        return {k: _plain(v, paths, depth - 1, left) for k, v in pairs}
    if isinstance(value, list | tuple) and len(value) <= left[0]:
        items = [_plain(item, paths, depth - 1, left) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return None


def _is_path(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(_PATH.search(value))


def _inside(path: str, folder: Path) -> str | None:
    """Return the file of that name in the folder, which may have moved, or None."""
    place = folder / PureWindowsPath(path).name  # for Windows and POSIX paths
    return str(place) if place.is_file() and not place.is_symlink() else None


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def finite_number(value: object) -> float | None:
    """Return a real number, also numpy's, as a float; None for other values, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
