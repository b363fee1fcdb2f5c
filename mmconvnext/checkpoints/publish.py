"""Turn a training checkpoint into a file for publication."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import mmengine
from torch import Tensor

from mmconvnext.checkpoints.config_text import without_machine
from mmconvnext.checkpoints.fetch import fetch, named_hash, sha256_of
from mmconvnext.checkpoints.finite import require_finite
from mmconvnext.checkpoints.meta import described, find_meta
from mmconvnext.checkpoints.read import find_tensors, find_tested, read_checkpoint
from mmconvnext.checkpoints.write import save_tensors, writing
from mmconvnext.config.config_file import read_config
from mmconvnext.errors import CheckpointError
from mmconvnext.version import __version__

# Entries kept from a dataset's metainfo, and from a run's state.
_OF_THE_DATA = ('classes', 'palette', 'reduce_zero_label')
_OF_THE_RUN = ('epoch', 'iter')


class Publication(NamedTuple):
    """A published file."""

    path: Path  # with its hash in its name
    tensors: int  # number of them
    before: int  # bytes of the source checkpoint
    averaged: bool  # whether the weights were averaged in training
    meta: dict[str, object]  # the metadata that was kept


def publish(
    source: str,
    destination: str | Path,
    *,
    config: str | None = None,
    ema: bool = False,
    force: bool = False,
) -> Publication:
    """Write a checkpoint's weights with their classes, palette and config, and nothing else.

    The weights are those that tools/test.py measures: for a run with mmengine's EMAHook these are
    the averaged weights, which it saves as ``state_dict``. No value changes. Optimizer, schedulers,
    log, seed, time and paths are dropped. The same checkpoint gives the same bytes. Their SHA-256
    is part of the file name, as in torch.hub and mmengine, and
    :func:`~mmconvnext.checkpoints.fetch.fetch` checks it after a download.

    Args:
        source: File, URL or hf:// address.
        destination: ``NAME.pth`` or ``NAME.safetensors``; the ending selects the format. The file
            written is ``NAME-<first digits of the hash>.pth``.
        config: Config file to store instead of the checkpoint's own.
        ema: Require averaged weights: those above for mmengine, ``model_ema`` or ``state_dict_ema``
            for other files.
        force: Replace an existing file of that name with other contents, such as a broken one.

    Raises:
        CheckpointError: the source is unreadable, or its weights are missing or not finite, or the
            destination has another ending or cannot be written.
        UserError: the config cannot be used.
    """
    destination = Path(destination)
    if destination.suffix not in ('.pth', '.safetensors'):
        raise CheckpointError(f'{destination}: expected an ending of .pth or .safetensors')
    stem = re.sub(r'-[a-f0-9]{8,}$', '', destination.stem)  # of an earlier publication
    if named_hash(f'{stem}.pth') or not stem:
        raise CheckpointError(f'{destination}: expected a name without a hash; choose another')
    path = fetch(source)
    content = read_checkpoint(str(path))
    tensors, averaged = _weights(content, source, ema)
    require_finite(tensors, source)
    meta = _kept(find_meta(content), config)
    with writing(destination.with_name(stem + destination.suffix)) as partial:
        save_tensors(tensors, partial, meta)
        digest = sha256_of(partial)
        written = destination.with_name(f'{stem}-{_beginning(digest)}{destination.suffix}')
        if not written.exists() or force:
            partial.replace(written)
        elif sha256_of(written) != digest:
            raise CheckpointError(
                f'{written}: expected a file with the hash in its name, found other contents; '
                'give --force to replace it'
            )
    return Publication(written, len(tensors), path.stat().st_size, averaged, meta)


def _weights(content: object, source: str, ema: bool) -> tuple[dict[str, Tensor], bool]:
    """Return the tensors that a test would use, and whether they are averaged."""
    if ema:
        return find_tensors(content, source, ema=True).tensors, True
    averaged = isinstance(content, Mapping) and {'state_dict', 'ema_state_dict'} <= content.keys()
    return find_tested(content, source).tensors, averaged


def _kept(meta: Mapping, config: str | None) -> dict[str, object]:
    """Return the metadata to keep, as values that both json and ``torch.save`` can store."""
    dataset = meta.get('dataset_meta')
    dataset = {**(dataset if isinstance(dataset, Mapping) else {}), **described(meta)}
    text = read_config(config).pretty_text if config else dataset.get('cfg')
    version = str(meta.get('mmengine_version') or mmengine.__version__)
    kept = {
        'dataset_meta': {key: dataset[key] for key in _OF_THE_DATA if dataset.get(key) is not None},
        'cfg': without_machine(text) if isinstance(text, str) else None,
        **{key: meta.get(key) for key in _OF_THE_RUN},
        'mmconvnext_version': __version__,
        # mmengine appends the commit of the repository it ran in, or `unknown`.
        'mmengine_version': re.sub(r'(unknown|[0-9a-f]{40})$', '', version),
    }
    kept = {key: value for key, value in kept.items() if value}
    # A dataset's metainfo may contain numpy numbers and arrays.
    plain = json.dumps(kept, default=lambda v: v.tolist() if hasattr(v, 'tolist') else str(v))
    return json.loads(plain)


def _beginning(digest: str) -> str:
    """Return eight digits, or more until there is a letter: decimal digits look like a date."""
    letter = re.search('[a-f]', digest)
    return digest[: max(8, letter.end() if letter else len(digest))]
