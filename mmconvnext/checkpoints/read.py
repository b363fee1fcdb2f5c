"""Opening a checkpoint safely and finding the tensors in it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.errors import CheckpointError, first_line

# Under what the tensors stand, in the order it is looked for. `model`: official files and FCMAE;
# `state_dict`: mmengine, mmpretrain, timm; `teacher`, `student`: self-distillation.
WRAPPERS = ('model', 'state_dict', 'teacher', 'student')
# The same for weights averaged over training: official, timm, mmengine.
EMA_WRAPPERS = ('model_ema', 'state_dict_ema', 'ema_state_dict')
_DEEPEST_WRAPPING = 4


def read_checkpoint(
    checkpoint: str, map_location: str = 'cpu', sha256: str | None = None
) -> object:
    """Content of a checkpoint file or URL, opened without running anything in it.

    Reads .safetensors, sharded too (its ``.safetensors.index.json``), and all that ``torch.load``
    reads with ``weights_only=True``; the latter memory-mapped where its format allows.

    Args:
        checkpoint: File or URL.
        map_location: Device of the tensors; on ``'meta'`` the file is checked without reading
            them.
        sha256: SHA-256 of a download, or its beginning.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds more than weights. Nothing
            in it has been run then.
    """
    path = fetch(checkpoint, sha256=sha256)
    try:
        if path.name.endswith('.safetensors.index.json'):
            shards = sorted(set(json.loads(path.read_text())['weight_map'].values()))
            return {
                key: value
                for shard in shards
                for key, value in read_checkpoint(str(path.parent / shard), map_location).items()
            }
        if path.suffix == '.safetensors':
            tensors = load_file(path)
            return {key: value.to(map_location) for key, value in tensors.items()}
        mapped = is_zipfile(path) and map_location == 'cpu'
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except Exception as error:  # a broken file makes the readers fail in any way
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


def find_tensors(content: object, source: str, *, ema: bool = False) -> dict[str, Tensor]:
    """The state dict in a checkpoint's content, whatever it is wrapped in.

    Args:
        content: What :func:`read_checkpoint` gave.
        source: What a message calls the file.
        ema: Take the weights averaged over training. The published dense-prediction recipes
            start from those that are not.

    Raises:
        CheckpointError: there is no state dict, or no averaged one.
    """
    wrappers = EMA_WRAPPERS if ema else WRAPPERS
    if ema and not (isinstance(content, Mapping) and any(name in content for name in wrappers)):
        raise CheckpointError(
            f'{source}: ema=True: expected averaged weights under {" or ".join(EMA_WRAPPERS)}, '
            'found none'
        )
    for _ in range(_DEEPEST_WRAPPING):
        if not isinstance(content, Mapping):
            break
        inner = next((content[name] for name in wrappers if name in content), None)
        if not isinstance(inner, Mapping):
            tensors = {key: value for key, value in content.items() if torch.is_tensor(value)}
            if not tensors:
                break
            # `module.` is what DataParallel and mmengine's averaged models put before every key.
            return {key.removeprefix('module.'): value for key, value in tensors.items()}
        content, wrappers = inner, WRAPPERS
    raise CheckpointError(
        f'{source}: expected a dict of tensors, bare or under {" or ".join(WRAPPERS)}; found none'
    )
