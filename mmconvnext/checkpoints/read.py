"""Opening a checkpoint safely and finding the tensors in it."""

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

# Under what the tensors stand, in the order it is looked for. `model`: official files and FCMAE;
# `state_dict`: mmengine, mmpretrain, timm; `teacher`, `student`: self-distillation. mmengine's
# EMAHook exchanges the two when it saves: its `state_dict` is the averaged one, and
# `ema_state_dict`, where there is such, the other.
WRAPPERS = ('model', 'ema_state_dict', 'state_dict', 'teacher', 'student')
# The same for weights averaged over training: official, timm, mmengine.
EMA_WRAPPERS = ('model_ema', 'state_dict_ema', 'state_dict')
_MOST_WRAPPERS = 4
HEADER_KEY = 'mmconvnext.meta'  # in a .safetensors file's header, which holds strings: json
_ahead: dict[tuple[int, ...], object] = {}  # what was read ahead of its use, by the file's state


def read_checkpoint(
    checkpoint: str, map_location: str = 'cpu', sha256: str | None = None, *, mapped: bool = True
) -> object:
    """Content of a checkpoint file or URL, opened without running anything in it.

    Reads .safetensors, sharded too (its ``.safetensors.index.json``), and all that ``torch.load``
    reads with ``weights_only=True``. What tools/publish_model.py wrote is a dict of ``state_dict``
    and ``meta`` in either format. Wherever tensors are read, the file is checked against the CRCs
    in it, which torch does not do.

    Args:
        checkpoint: File or URL.
        map_location: Device of the tensors; on ``'meta'`` the file is checked without reading
            them.
        sha256: SHA-256 of the file, or its beginning.
        mapped: Map the file to memory where its format allows, in place of reading it. The tensors
            are then good for copying from, and the file has to stay.

    Raises:
        CheckpointError: the file is missing, unreadable or damaged, has tensors of another size
            than their bytes, or holds more than weights. Nothing in it has been run then.
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
    except Exception as error:  # a broken file makes the readers fail in any way
        message = _unreadable(path, error)
        if is_url(checkpoint) and discard(path):
            message += '; the download was removed from the cache'
        raise CheckpointError(message) from error


def read_ahead(checkpoint: str) -> object:
    """As :func:`read_checkpoint`, which then gives the same content the next time, once.

    So that a file is known to be good before hours of preparing, and yet parsed once.
    """
    content = read_checkpoint(checkpoint)
    _ahead.clear()
    _ahead[file_state(fetch(checkpoint))] = content
    return content


def _load(path: Path, map_location: str, mapped: bool) -> object:
    zipped = is_zipfile(path)
    if zipped:
        with ZipFile(path) as archive:
            # torch.save compresses nothing; what is compressed could unpack to any size.
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError(
                    f'{path}: refused: expected a file of torch.save, got a packed archive'
                )
        if map_location != 'meta':
            require_intact(path)
    mapped = mapped and zipped and map_location == 'cpu'
    # A HistoryBuffer in a file adds what it calls its methods to those of all others.
    methods = dict(HistoryBuffer()._statistics_methods)
    try:
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    finally:
        HistoryBuffer._statistics_methods.clear()
        HistoryBuffer._statistics_methods.update(methods)


def _require_all_bytes(content: object, path: Path) -> None:
    """Refuse tensors that claim more elements than they have bytes for, by strides of 0.

    A few bytes could otherwise ask for any amount of memory when they are copied. Containers may
    hold each other in circles, which the pickle format can express.
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
                    f'{path}: refused: expected a tensor of {available} elements, as many as it '
                    f'has bytes for, found the shape {tuple(value.shape)}; convert it where it '
                    'was made'
                )


def _read_shards(checkpoint: str, index: Path, map_location: str) -> dict[str, Tensor]:
    """Tensors of the files that an index names, which lie where the index was asked for."""
    tensors: dict[str, Tensor] = {}
    weight_map: dict[str, str] = json.loads(index.read_text())['weight_map']
    for shard in dict.fromkeys(weight_map.values()):
        if Path(shard).name != shard or shard.endswith('.index.json'):
            raise CheckpointError(f'{index}: expected shards beside it, found {shard!r}')
        content: Any = read_checkpoint(_beside(str(checkpoint), shard), map_location)
        tensors |= content
    if missing := [key for key in weight_map if key not in tensors]:
        raise CheckpointError(f'{index}: its shards do not hold {", ".join(missing[:5])}')
    return tensors


def _beside(checkpoint: str, name: str) -> str:
    """Path or address of another file where a checkpoint lies; a URL keeps its query."""
    if is_url(checkpoint):
        parts = urlsplit(checkpoint)
        return parts._replace(path=str(PurePosixPath(parts.path).with_name(name))).geturl()
    return checkpoint.removesuffix(Path(checkpoint).name) + name


def _read_safetensors(path: Path, map_location: str) -> dict[str, Any]:
    """Tensors by name; under ``state_dict``, beside ``meta``, where the file has such."""
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
    # torch names what it refused; the rest of its message tells how to let the file run code.
    if refused := re.search(r'GLOBAL (\S+)|Unsupported class (\S+)', str(error)):
        return (
            f'{path}: refused, nothing in it was run: it holds more than weights '
            f'({refused[1] or refused[2]}); convert it where you trust it, keeping tensors and '
            'plain values only'
        )
    return (
        f'{path}: not a readable checkpoint ({_kind(path) or _detail(error)}); it may be '
        'incomplete or of another kind: fetch it again'
    )


def _kind(path: Path) -> str:
    """What a file is that people take for a checkpoint, or ''."""
    with path.open('rb') as file:
        beginning = file.read(256).strip()
    if not beginning:
        return 'it is empty'
    if beginning.removeprefix(codecs.BOM_UTF8).startswith(b'<'):
        return 'it is a web page'
    if beginning[8:10] == b'{"':
        return 'it is a .safetensors file under another name'
    return 'it is a text' if path.suffix != '.json' and _is_text(beginning) else ''


def _is_text(beginning: bytes) -> bool:
    # The last character may be cut.
    text = codecs.getincrementaldecoder('utf-8')('replace').decode(beginning)
    return all(c in '\t\r\n\ufeff' or (c.isprintable() and c != '\ufffd') for c in text)


def _detail(error: Exception) -> str:
    detail = str(error).partition('WeightsUnpickler error: ')[2].strip() or first_line(error)
    return f'{type(error).__name__}: {detail.splitlines()[0]}'


class Found(NamedTuple):
    """Tensors by name, and under what they stood in the file, ``''`` where under nothing."""

    tensors: dict[str, Tensor]
    place: str


def find_tensors(content: Any, source: str, *, ema: bool = False) -> Found:
    """The state dict in a checkpoint's content, whatever it is wrapped in.

    With ``ema`` it is that of the weights averaged over training; the published dense-prediction
    recipes start from those that are not. ``source`` is what a message calls the file.

    Raises:
        CheckpointError: there is no state dict, or no averaged one.
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
            # `module.` is what DataParallel and mmengine's averaged models put before every key.
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
    hint = ' but averaged weights, which ema=True takes' if averaged else ''
    raise CheckpointError(
        f'{source}: expected a dict of tensors, bare or under {" or ".join(WRAPPERS)}; found none'
        f'{hint}'
    )


def find_tested(content: object, source: str) -> Found:
    """The tensors that a test takes: of mmengine what it saved as ``state_dict``, averaged or not.

    Raises:
        CheckpointError: there is no state dict.
    """
    if isinstance(content, Mapping) and 'state_dict' in content:
        content = {'state_dict': content['state_dict']}
    return find_tensors(content, source)


def _averaged_names(content: object) -> list[str]:
    """Under what a checkpoint has averaged weights."""
    if not isinstance(content, Mapping):
        return []
    # mmengine's state_dict is averaged only beside an ema_state_dict.
    possible = [n for n in EMA_WRAPPERS if n != 'state_dict' or 'ema_state_dict' in content]
    return [name for name in possible if name in content]
