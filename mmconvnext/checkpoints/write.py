"""Writing converted checkpoints."""

import re
import tempfile
from collections.abc import Mapping
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
from mmconvnext.checkpoints.read import find_tensors, read_checkpoint
from mmconvnext.errors import CheckpointError, first_line

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
    recognised = _without_output_norms(recognised, TARGETS[to])
    _require_norms_told_apart(recognised, TARGETS[to])
    _write(from_official(recognised.state, TARGETS[to]), destination)
    return recognised


def _without_output_norms(recognised: Recognised, target: Format) -> Recognised:
    """A dense backbone's output norms are left aside for a family that has no place for them."""
    if 'output_norm' in target.parts:
        return recognised
    return recognised.without(key for key in recognised.state if re.match(r'norm\d\.', key))


def _require_norms_told_apart(recognised: Recognised, target: Format) -> None:
    norms = [f'norm{i}' for i in range(4) if f'norm{i}.weight' in recognised.state]
    if target.norm_is_norm3 and norms == ['norm3']:
        raise CheckpointError(
            f'{target.name}: expected all output norms or none, found that of the last stage '
            "alone, which would be taken for a classifier's norm; convert to another family"
        )


def _write(state: Mapping[str, Tensor], destination: Path) -> None:
    destination = destination.resolve()  # a link goes on pointing to what is written
    # One's own copies: parts of a shared or larger storage are not written safely or small.
    state = {
        key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()
    }
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix='.converting-') as folder:
            partial = Path(folder) / destination.name
            if destination.suffix == '.safetensors':
                save_file(state, partial, metadata={'format': 'pt'})
            else:
                torch.save(state, partial)
            partial.replace(destination)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f'{destination}: could not be written ({first_line(error)})'
        ) from error
