"""Strict loading of weights that already have a module's own names."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mmengine.logging import print_log
from torch import nn

from mmconvnext.checkpoints.load import require_finite, require_fit
from mmconvnext.checkpoints.read import find_tensors, read_checkpoint
from mmconvnext.errors import CheckpointError


def load_own_names(
    module: nn.Module,
    checkpoint: str,
    *,
    what: str,
    prefix: str | None = None,
    ema: bool = False,
    sha256: str | None = None,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
    beside: Mapping[str, nn.Module] = MappingProxyType({}),
) -> None:
    """Load a module's weights in place, every tensor accounted for.

    Args:
        module: What to load into.
        checkpoint: File or URL; of a whole model, what has the prefix is taken.
        what: What messages call the module.
        prefix: What stands before the module's names; None is ``'backbone.'`` where there is such.
        ema: Take the weights averaged over training.
        sha256: SHA-256 of the file, or its beginning.
        new: Beginnings of the names that the file may lack; these parameters stay as they are.
        unused: Beginnings of the names that the module may lack.
        beside: Modules beside it in a whole model, by the beginning of their names there; each is
            loaded too, where the file has it.

    Raises:
        CheckpointError: anything else is missing, unexpected, of another shape or not finite.
            The modules are unchanged then.
    """
    tensors = find_tensors(read_checkpoint(checkpoint, sha256=sha256), checkpoint, ema=ema).tensors
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in tensors) else ''
    if not any(key.startswith(prefix) for key in tensors):
        raise CheckpointError(
            f'{checkpoint}: expected keys that begin with {prefix!r}, found '
            f'{", ".join(list(tensors)[:3])}, …'
        )
    parts = {prefix: module}
    for name, other in beside.items():
        parts |= {name: other} if any(key.startswith(name) for key in tensors) else {}
    target = {f'{at}{key}': v for at, part in parts.items() for key, v in part.state_dict().items()}
    state = {key: value for key, value in tensors.items() if key.startswith(tuple(parts))}
    require_fit(
        target,
        state,
        source=checkpoint,
        target_name=what,
        cause='check that the file is of this very network',
        new=[prefix + name for name in new],
        unused=[prefix + name for name in unused],
    )
    loaded = {key: value for key, value in state.items() if key in target}
    require_finite(loaded, checkpoint)
    for at, part in parts.items():
        own = {k.removeprefix(at): v for k, v in loaded.items() if k.startswith(at)}
        part.load_state_dict(own, strict=False)
    left = {
        'new': [key for key in target if key not in loaded],
        'left aside': [key for key in tensors if key not in loaded],
    }
    told = '; '.join(f'{what}: {", ".join(keys) or "none"}' for what, keys in left.items())
    print_log(f'Loaded {len(loaded)} tensors from {checkpoint}; {told}', logger='current')
