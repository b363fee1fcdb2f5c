"""Write tensors for publication, and converted checkpoints."""

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
    """Convert a file of any family, with its norm and head, to another family's names and shapes.

    The destination, a plain dict of tensors, is written completely or not at all. Its ending
    selects .safetensors or ``torch.save``.

    Args:
        source: File, URL or hf:// address.
        destination: File to write: .pth, .pt, .bin or .safetensors.
        to: A key of :data:`TARGETS`.
        family: The source's family, a key of :data:`TARGETS`; None recognises it by its keys.
        ema: Use the weights averaged over training.
        force: Replace an existing destination.

    Returns:
        The family and tensors recognised in the source.

    Raises:
        CheckpointError: the source is unreadable, incomplete or belongs to no family; its tensors
            are not finite or one of the families does not know them; or the destination exists,
            has another ending or cannot be written.
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
    if 'output_norm' not in TARGETS[to].parts:  # the family has no output norms
        norms = (key for key in recognised.state if re.match(r'norm\d\.', key))
        recognised = recognised.without(norms)
    _require_norms_told_apart(recognised, TARGETS[to])
    destination = destination.resolve()  # so that a link keeps pointing to the written file
    with writing(destination) as partial:
        save_tensors(from_official(recognised.state, TARGETS[to]), partial)
        partial.replace(destination)
    return recognised


def _require_norms_told_apart(recognised: Recognised, target: Format) -> None:
    norms = [f'norm{i}' for i in range(4) if f'norm{i}.weight' in recognised.state]
    if target.norm_is_norm3 and norms == ['norm3']:
        raise CheckpointError(
            f'{target.name}: expected all output norms or none, found that of the last stage '
            "only, which would look like a classifier's norm; convert to another family"
        )


@contextmanager
def writing(destination: Path) -> Iterator[Path]:
    """Yield a path in a new folder next to the destination, and move the written file from it.

    Raises:
        CheckpointError: the file could not be written or moved. No partial file is left.
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
    """Write tensors and, if given, ``meta``; the same content gives the same bytes.

    The path's ending selects .safetensors or ``torch.save``.
    """
    # Copies, because a shared storage cannot be written, and a larger one is written in full.
    state = {
        key: value.clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
    }
    if path.suffix == '.safetensors':
        path.touch()
        mode = path.stat().st_mode  # safetensors makes files that only their owner may read
        # One entry in the header, because the order of several entries varies.
        header = {'format': 'pt'} if meta is None else {HEADER_KEY: json.dumps(meta)}
        save_file(state, path, metadata=header)
        path.chmod(mode)
    else:
        with path.open('wb') as file:  # given a path, torch writes its name into the file
            torch.save(state if meta is None else {'meta': meta, 'state_dict': state}, file)
