"""Writing tensors for others, and converted checkpoints."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mmconvnext.checkpoints.complete import require_complete
from mmconvnext.checkpoints.convert import Recognised, from_official, to_official
from mmconvnext.checkpoints.description import announce_licence
from mmconvnext.checkpoints.finite import require_finite
from mmconvnext.checkpoints.formats import FORMATS, Format
from mmconvnext.checkpoints.read import HEADER_KEY, find_tensors, read_checkpoint
from mmconvnext.errors import CheckpointError, first_line

#: Formats by their names on the command line.
TARGETS = {format.name: format for format in FORMATS}


def convert_checkpoint(
    source: str,
    destination: str | Path,
    *,
    to: str = 'official',
    family: str | None = None,
    ema: bool = False,
    force: bool = False,
) -> Recognised:
    """Convert a file of any family, norm and head included, to another family's names and shapes.

    The destination is written whole or not at all, as .safetensors or by ``torch.save``, by its
    ending: a plain dict of tensors.

    Args:
        source: File, URL or hf:// address.
        destination: File to write: .pth, .pt, .bin or .safetensors.
        to: A key of :data:`TARGETS`.
        family: Of the source, likewise; recognised by its keys where it is None.
        ema: Take the weights averaged over training.
        force: Replace an existing destination.

    Returns:
        What was recognised in the source.

    Raises:
        CheckpointError: the source is unreadable, incomplete or of no family, has tensors that
            neither family knows or that are not finite, or the destination exists, has another
            ending or cannot be written.
    """
    destination = Path(destination)
    if destination.suffix not in ('.pth', '.pt', '.bin', '.safetensors'):
        raise CheckpointError(
            f'{destination}: expected an ending of .pth, .pt, .bin or .safetensors'
        )
    if destination.exists() and not force:
        raise CheckpointError(f'{destination} exists; give --force to replace it')
    tensors = find_tensors(read_checkpoint(source), source, ema=ema).tensors
    formats = FORMATS if family is None else (TARGETS[family],)
    recognised = to_official(tensors, source, formats)
    if recognised.unknown:
        raise CheckpointError(
            f'{source}: {recognised.format.name} has no such tensors: '
            f'{", ".join(list(recognised.unknown)[:5])}'
        )
    require_complete(recognised.state, source)
    require_finite(recognised.state, source)
    announce_licence(recognised.format.name, recognised.state | recognised.aside, source)
    if 'output_norm' not in TARGETS[to].parts:  # no place for those of a dense backbone
        norms = (key for key in recognised.state if re.match(r'norm\d\.', key))
        recognised = recognised.without(norms)
    _require_norms_told_apart(recognised, TARGETS[to])
    destination = destination.resolve()  # a link goes on pointing to what is written
    with writing(destination) as partial:
        save_tensors(from_official(recognised.state, TARGETS[to]), partial)
        partial.replace(destination)
    return recognised


def _require_norms_told_apart(recognised: Recognised, target: Format) -> None:
    norms = [f'norm{i}' for i in range(4) if f'norm{i}.weight' in recognised.state]
    if target.norm_is_norm3 and norms == ['norm3']:
        raise CheckpointError(
            f'{target.name}: expected all output norms or none, found that of the last stage '
            "alone, which would be taken for a classifier's norm; convert to another family"
        )


@contextmanager
def writing(destination: Path) -> Iterator[Path]:
    """Give a path in a new folder beside the destination, to write to and to move from.

    Raises:
        CheckpointError: that could not be done. Nothing is left of it.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix='.writing-') as folder:
            yield Path(folder) / destination.name
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f'{destination}: could not be written ({first_line(error)})'
        ) from error


def save_tensors(tensors: Mapping[str, Tensor], path: Path, meta: Mapping | None = None) -> None:
    """Write tensors, beside ``meta`` where it is given: of the same content the same bytes.

    As .safetensors or by ``torch.save``, by the ending of the path.
    """
    # One's own copies: parts of a shared or larger storage are not written safely or small.
    state = {
        key: value.clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
    }
    if path.suffix == '.safetensors':
        path.touch()
        mode = path.stat().st_mode  # safetensors makes files that nobody else may read
        # A header of one entry: the order of several changes from call to call.
        header = {'format': 'pt'} if meta is None else {HEADER_KEY: json.dumps(meta)}
        save_file(state, path, metadata=header)
        path.chmod(mode)
    else:
        with path.open('wb') as file:  # a path's name would become part of the bytes
            torch.save(state if meta is None else {'meta': meta, 'state_dict': state}, file)
