"""Open a checkpoint safely and find its tensors."""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from mmengine.logging import HistoryBuffer
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mmconvnext.checkpoints.fetch import discard, fetch, is_url
from mmconvnext.checkpoints.whole import file_state, require_intact
from mmconvnext.errors import CheckpointError, first_line

# Keys of the state dict in a checkpoint, in the order of the search. `model`: official files and
# FCMAE; `state_dict`: mmengine, mmpretrain, timm; `teacher`, `student`: self-distillation.
# mmengine's EMAHook swaps the two when it saves: `state_dict` has the averaged weights, and
# `ema_state_dict`, if present, the others.
WRAPPERS = ('model', 'ema_state_dict', 'state_dict', 'teacher', 'student')
# Keys of the weights averaged over training: official, timm, mmengine.
EMA_WRAPPERS = ('model_ema', 'state_dict_ema', 'state_dict')
_MOST_WRAPPERS = 4
HEADER_KEY = 'mmconvnext.meta'  # json in a .safetensors file's header, which holds strings only
_ahead: dict[tuple[int, ...], object] = {}  # contents that were read ahead, by the file's state


def read_checkpoint(
    checkpoint: str, map_location: str = 'cpu', sha256: str | None = None, *, mapped: bool = True
) -> object:
    """Return the content of a checkpoint file or URL, without running any code in it.

    Supported are .safetensors, sharded files included (``.safetensors.index.json``), and all files
    that ``torch.load`` reads with ``weights_only=True``. Files from tools/publish_model.py give a
    dict of ``state_dict`` and ``meta`` in both formats. When tensors are read, the file is checked
    against its CRCs, which torch does not check.

    Args:
        checkpoint: File or URL.
        map_location: Device of the tensors; ``'meta'`` checks the file without reading tensors.
        sha256: SHA-256 of the file, or its beginning.
        mapped: Map the file to memory, if its format allows, instead of reading it. Copy from the
            tensors while the file exists; do not keep them.

    Raises:
        CheckpointError: the file is missing, unreadable or damaged, has tensors whose size does not
            match their bytes, or contains more than weights. No code in it was run.
    """
    path = fetch(checkpoint, sha256=sha256)
    if _ahead and mapped and map_location == 'cpu':
        content = _ahead.pop(file_state(path), None)
        if content is not None:
            return content
    try:
        if path.name.endswith('.index.json'):
            return _read_shards(checkpoint, path, map_location)
        if path.suffix == '.safetensors':
            return _read_safetensors(path, map_location)
        content = _load(path, map_location, mapped)
        _require_all_bytes(content, path)
        return content
    except CheckpointError:
        raise
    except Exception as error:  # the readers raise all kinds of errors for broken files
        message = _unreadable(path, error)
        if is_url(checkpoint) and discard(path):
            message += '; the download was removed from the cache'
        raise CheckpointError(message) from error


def read_ahead(checkpoint: str) -> object:
    """Read a checkpoint like :func:`read_checkpoint`, and keep the content for its next call.

    A bad file is then reported before long preparations, and the file is parsed only once.
    """
    content = read_checkpoint(checkpoint)
    _ahead.clear()
    _ahead[file_state(fetch(checkpoint))] = content
    return content


def _load(path: Path, map_location: str, mapped: bool) -> object:
    zipped = is_zipfile(path)
    if zipped:
        with ZipFile(path) as archive:
            # torch.save does not compress; a compressed file could unpack to any size.
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError(
                    f'{path}: refused: expected a file of torch.save, got a compressed archive'
                )
        if map_location != 'meta':
            require_intact(path)
    mapped = mapped and zipped and map_location == 'cpu'
    # Loading a HistoryBuffer adds the method names in the file to the class, for all buffers.
    methods = dict(HistoryBuffer()._statistics_methods)
    try:
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    finally:
        HistoryBuffer._statistics_methods.clear()
        HistoryBuffer._statistics_methods.update(methods)


def _require_all_bytes(content: object, path: Path) -> None:
    """Refuse tensors with more elements than their bytes can hold, by strides of 0.

    Otherwise copying a few bytes could take any amount of memory. Containers may contain each
    other in cycles, which the pickle format allows.
    """
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, HistoryBuffer):
            waiting += vars(value).values()
        elif torch.is_tensor(value) and value.layout == torch.strided:
            available = value.untyped_storage().nbytes() // value.element_size()
            if value.numel() > available:
                raise CheckpointError(
                    f'{path}: refused: expected a tensor of {available} elements, as its bytes '
                    f'hold, found the shape {tuple(value.shape)}; convert it where it was made'
                )


def _read_shards(checkpoint: str, index: Path, map_location: str) -> dict[str, Tensor]:
    """Return the tensors of the files that an index names, from the index's folder or address."""
    tensors: dict[str, Tensor] = {}
    weight_map: dict[str, str] = json.loads(index.read_text())['weight_map']
    for shard in dict.fromkeys(weight_map.values()):
        if Path(shard).name != shard or shard.endswith('.index.json'):
            raise CheckpointError(f'{index}: expected shards in its folder, found {shard!r}')
        content: Any = read_checkpoint(_beside(str(checkpoint), shard), map_location)
        tensors |= content
    if missing := [key for key in weight_map if key not in tensors]:
        raise CheckpointError(f'{index}: its shards do not hold {", ".join(missing[:5])}')
    return tensors


def _beside(checkpoint: str, name: str) -> str:
    """Return the path or URL of another file in a checkpoint's folder; a URL keeps its query."""
    if is_url(checkpoint):
        parts = urlsplit(checkpoint)
        return parts._replace(path=str(PurePosixPath(parts.path).with_name(name))).geturl()
    return checkpoint.removesuffix(Path(checkpoint).name) + name


def _read_safetensors(path: Path, map_location: str) -> dict[str, Any]:
    """Return tensors by name, or ``state_dict`` and ``meta`` if the file has a ``meta``."""
    with safe_open(path, 'pt') as file:
        header = file.metadata() or {}
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    if map_location == 'meta':
        tensors = {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}
    else:
        tensors = load_file(path, map_location)
    if HEADER_KEY not in header:
        return tensors
    return {'state_dict': tensors, 'meta': json.loads(header[HEADER_KEY])}


def _unreadable(path: Path, error: Exception) -> str:
    # torch names what it refused; the rest of its message explains how to allow code, so it is cut.
    if refused := re.search(r'GLOBAL (\S+)|Unsupported class (\S+)', str(error)):
        return (
            f'{path}: refused, no code in it was run: it contains more than weights '
            f'({refused[1] or refused[2]}); if you trust it, convert it and keep only tensors and '
            'plain values'
        )
    return (
        f'{path}: not a readable checkpoint ({_kind(path) or _detail(error)}); it may be '
        'incomplete or another type of file: download it again'
    )


def _kind(path: Path) -> str:
    """Return what a file is if it is often mistaken for a checkpoint, or ''."""
    with path.open('rb') as file:
        beginning = file.read(256).strip()
    if not beginning:
        return 'it is empty'
    if beginning.removeprefix(codecs.BOM_UTF8).startswith(b'<'):
        return 'it is a web page'
    if beginning[8:10] == b'{"':
        return 'it is a .safetensors file under another name'
    return 'it is a text file' if path.suffix != '.json' and _is_text(beginning) else ''


def _is_text(beginning: bytes) -> bool:
    # The last character may be incomplete.
    text = codecs.getincrementaldecoder('utf-8')('replace').decode(beginning)
    return all(c in '\t\r\n\ufeff' or (c.isprintable() and c != '\ufffd') for c in text)


def _detail(error: Exception) -> str:
    detail = str(error).partition('WeightsUnpickler error: ')[2].strip() or first_line(error)
    return f'{type(error).__name__}: {detail.splitlines()[0]}'


class Found(NamedTuple):
    """Tensors by name, and the key under which the file has them; ``''`` at the top level."""

    tensors: dict[str, Tensor]
    place: str


def find_tensors(content: Any, source: str, *, ema: bool = False) -> Found:
    """Return the state dict in a checkpoint's content, at any level.

    ``ema`` selects the weights averaged over training; the published recipes for dense prediction
    start from weights that are not averaged. ``source`` is the file's name in messages.

    Raises:
        CheckpointError: there is no state dict, or no averaged state dict.
    """
    wrappers: Sequence[str] = _averaged_names(content) if ema else WRAPPERS
    if not wrappers:
        raise CheckpointError(
            f'{source}: ema=True: expected averaged weights under model_ema or state_dict_ema, or '
            'an ema_state_dict beside the state_dict; found none'
        )
    places: list[str] = []
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(content, Mapping):
            break
        name = next((n for n in wrappers if isinstance(content.get(n), Mapping)), None)
        if name is None:
            # DataParallel and mmengine's averaged models put `module.` before every key.
            tensors = {
                key.removeprefix('module.'): value
                for key, value in content.items()
                if isinstance(key, str) and torch.is_tensor(value)
            }
            if not tensors:
                break
            return Found(tensors, '.'.join(places))
        content, wrappers = content[name], WRAPPERS
        places.append(name)
    averaged = any(isinstance(content.get(name), Mapping) for name in _averaged_names(content))
    hint = ' but averaged weights, which ema=True loads' if averaged else ''
    raise CheckpointError(
        f'{source}: expected a dict of tensors, bare or under {" or ".join(WRAPPERS)}; found none'
        f'{hint}'
    )


def find_tested(content: object, source: str) -> Found:
    """Return the tensors that a test uses: mmengine's ``state_dict``, averaged or not.

    Raises:
        CheckpointError: there is no state dict.
    """
    if isinstance(content, Mapping) and 'state_dict' in content:
        content = {'state_dict': content['state_dict']}
    return find_tensors(content, source)


def _averaged_names(content: object) -> list[str]:
    """Return the keys under which a checkpoint has averaged weights."""
    if not isinstance(content, Mapping):
        return []
    # mmengine's state_dict is averaged only if there is an ema_state_dict.
    possible = [n for n in EMA_WRAPPERS if n != 'state_dict' or 'ema_state_dict' in content]
    return [name for name in possible if name in content]
