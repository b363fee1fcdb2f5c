"""Set where a run starts: its own checkpoint, another checkpoint, or from scratch."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmconvnext.checkpoints.fetch import fetch
from mmconvnext.checkpoints.of_a_run import (
    OVERWRITTEN,
    Place,
    checkpoint_place,
    is_elsewhere,
    iterations_of,
    newest_whole,
    run_checkpoints,
    set_aside,
)
from mmconvnext.checkpoints.read import find_tensors, read_ahead, read_checkpoint
from mmconvnext.command_line.options import backbones
from mmconvnext.errors import CheckpointError, UserError
from mmconvnext.processes import is_first_process


def set_resume(config: Config, resume: str | None, *, overwrite: bool = False) -> list[str]:
    """Resume from a checkpoint, or check that no checkpoint would be overwritten.

    ``resume`` is a file or URL, ``'auto'`` for the newest undamaged checkpoint in the config's work
    dir, if there is one, or None. ``overwrite`` allows replacing another run's checkpoints.

    Raises:
        CheckpointError: the checkpoint is missing, unreadable or unsafe.
        UserError: the work dir has checkpoints that this run would overwrite, or only damaged
            ones.
    """
    if resume is None and config.get('resume'):
        resume = config.get('load_from') or 'auto'
    place = checkpoint_place(config, config.work_dir)
    automatic = resume == 'auto'
    if automatic:
        if overwrite:
            raise UserError(
                '--overwrite: expected no --resume, or --resume FILE, got --resume without a file; '
                'give --resume FILE, or leave one of the options out'
            )
        if is_elsewhere(config):
            raise UserError(
                f'{config.default_hooks.checkpoint.out_dir}: expected a folder of this machine to '
                'look for the newest checkpoint in; give --resume URL'
            )
        resume, notices = _newest(place)
    path = None if resume is None else _require_training_state(resume)
    if not automatic:
        first = is_first_process(config.get('launcher', 'none'))
        notices = _make_way(place, resume, overwrite, first)
    if path is None:
        config.resume = False
        if config.get('load_from'):
            set_checkpoint(config, config.load_from, heads=False)
        return notices
    _set_loading(config, path)
    config.resume = True
    # The checkpoint has all weights: no other file is needed or downloaded.
    config.model.pop('init_cfg', None)
    for backbone in backbones(config.model):
        backbone.init_cfg = None
    return [*notices, f'Resuming from {resume}']


def _require_training_state(checkpoint: str) -> Path:
    path = fetch(checkpoint)
    content = read_checkpoint(str(path), map_location='meta')  # quick: reads no tensors
    found = content if isinstance(content, dict) else ()
    if missing := {'meta', 'optimizer', 'message_hub'}.difference(found):
        raise UserError(
            f'{checkpoint}: expected a training checkpoint, found no '
            f'{", ".join(sorted(missing))}; to load only its weights, give '
            '--cfg-options load_from=FILE'
        )
    find_tensors(content, str(path))
    return path


def _newest(place: Place) -> tuple[str | None, list[str]]:
    """Return the newest undamaged checkpoint of a work dir, and notices."""
    newest = newest_whole(*place)
    notices = [f'Skipped: {reason}' for reason in newest.passed_over]
    if newest.path is not None:
        return str(newest.path), notices
    if notices:
        raise UserError(
            f'{place.folder}: expected an undamaged checkpoint to resume from, found none '
            f'({newest.passed_over[-1]}); give --overwrite to start from the beginning'
        )
    return None, [f'Nothing to resume in {place.folder}: starting from the beginning']


def _make_way(place: Place, resume: str | None, overwrite: bool, first: bool) -> list[str]:
    """Check that a run overwrites no checkpoint without ``overwrite``, or move them away."""
    in_the_way = run_checkpoints(*place)
    if resume is None:
        in_the_way = [*place.folder.glob('best_*.pth'), *in_the_way]
    elif in_the_way:
        begun = iterations_of(fetch(resume))
        in_the_way = [path for path in in_the_way if _is_later(path, begun)]
    if not in_the_way:
        return []
    if not overwrite:
        instead = '--resume alone' if resume else '--resume'
        raise UserError(
            f'{place.folder}: expected no checkpoints of {"later" if resume else "another run"}, '
            f'found {in_the_way[-1].name}; resume from it with {instead}, choose another '
            '--work-dir, or give --overwrite'
        )
    if first:
        set_aside(place, in_the_way, whole_run=resume is None)
    return [
        f'{len(in_the_way)} earlier checkpoints were moved to {place.folder / OVERWRITTEN}; they '
        'are removed after the first checkpoint of this run'
    ]


def _is_later(path: Path, iterations: int) -> bool:
    try:
        return iterations_of(path) > iterations
    except CheckpointError:
        return True


def set_checkpoint(config: Config, checkpoint: str, *, heads: bool = True) -> None:
    """Load a whole model's weights strictly; without ``heads`` only the backbone must fit.

    ``checkpoint`` is a file, a URL or an hf:// address.

    Raises:
        CheckpointError: the checkpoint is missing, unreadable or unsafe, or has no tensors.
    """
    path = fetch(checkpoint)
    find_tensors(read_ahead(str(path)), str(path))
    _set_loading(config, path, heads)


def _set_loading(config: Config, path: Path, heads: bool = True) -> None:
    config.load_from = str(path)
    config.custom_hooks = [
        *(config.get('custom_hooks') or []),
        ConfigDict(type='mmconvnext.StrictLoadingHook', heads=heads, source=str(path)),
    ]
