"""Writing converted checkpoints."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmconvnext.checkpoints.convert import Recognised, from_official, to_official
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.checkpoints.load import announce_licence, require_finite
from mmconvnext.checkpoints.read import find_tensors, read_checkpoint
from mmconvnext.errors import CheckpointError

# Names on the command line.
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
        CheckpointError: the source is unreadable or of no family, has tensors that neither
            family knows or that are not finite, or the destination exists or has another ending.
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
    require_finite(recognised.state, source)
    announce_licence(recognised)
    _write(from_official(recognised.state, TARGETS[to]), destination)
    return recognised


def _write(state: Mapping[str, Tensor], destination: Path) -> None:
    partial = destination.with_name(f'{destination.name}.partial')
    state = {key: value.contiguous() for key, value in state.items()}
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.suffix == '.safetensors':
            save_file(state, partial, metadata={'format': 'pt'})
        else:
            torch.save(state, partial)
        partial.replace(destination)
    except OSError as error:
        raise CheckpointError(f'{destination}: could not be written ({error})') from error
    finally:
        partial.unlink(missing_ok=True)
