"""Find the checkpoints in a work dir, and the one to resume from."""

import os
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmconvnext.checkpoints.meta import find_meta
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.training_state import is_count
from mmconvnext.checkpoints.whole import require_intact
from mmconvnext.errors import CheckpointError

TEMPLATES = ('iter_{}.pth', 'epoch_{}.pth')
LAST = 'last_checkpoint'  # mmengine's file next to the checkpoints: the name of the newest
# File next to the checkpoints: the iteration at which the last evaluation finished.
EVALUATED = 'last_evaluation'
# Folder for an earlier run's checkpoints, until the new run in its work dir has its first one.
OVERWRITTEN = 'overwritten'


class Place(NamedTuple):
    """The folder of a run's checkpoints, and how they are named."""

    folder: Path
    templates: tuple[str, ...]


def checkpoint_place(config: Mapping, work_dir: str) -> Place:
    """Return where the checkpoints of a run are, from the CheckpointHook of its config."""
    hook = _checkpoint_hook(config)
    own = hook.get('filename_tmpl')
    templates = TEMPLATES if own in (None, *TEMPLATES) else (own, *TEMPLATES)
    if hook.get('out_dir') is None:
        return Place(Path(work_dir), templates)
    return Place(Path(hook['out_dir']) / Path(work_dir).absolute().name, templates)


def is_elsewhere(config: Mapping) -> bool:
    """Return whether a run writes its checkpoints to another machine, such as ``s3://…``."""
    return '://' in str(_checkpoint_hook(config).get('out_dir'))


def _checkpoint_hook(config: Mapping) -> Mapping:
    return (config.get('default_hooks') or {}).get('checkpoint') or {}


class Newest(NamedTuple):
    """The checkpoint to resume from, if any, and the reasons why others were skipped."""

    path: Path | None
    passed_over: list[str]


def step_of(name: str, templates: Iterable[str] = TEMPLATES) -> int | None:
    """Return the iteration or epoch in a checkpoint's file name; None for other files."""
    for template in templates:
        before, _, rest = template.partition('{')  # `{}` or `{:06d}`
        after = rest.partition('}')[2]
        if found := re.fullmatch(rf'{re.escape(before)}(\d+){re.escape(after)}', name):
            return int(found[1])
    return None


def run_checkpoints(folder: Path, templates: Sequence[str] = TEMPLATES) -> list[Path]:
    """Return the training checkpoints in a folder, sorted by the number in their names."""
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.is_file())
    steps = {path: step for path in files if (step := step_of(path.name, templates)) is not None}
    return sorted(steps, key=steps.__getitem__)


def newest_whole(folder: Path, templates: Sequence[str] = TEMPLATES) -> Newest:
    """Find the undamaged checkpoint with the most iterations.

    Only the files' names and contents count: ``last_checkpoint`` is not needed, and the folder may
    have been moved.
    """
    iterations, passed_over = {}, []
    for path in run_checkpoints(folder, templates):
        try:
            iterations[path] = iterations_of(path)
        except CheckpointError as error:
            passed_over.append(str(error))
    for path in sorted(iterations, key=iterations.__getitem__, reverse=True):
        try:
            require_intact(path)
            return Newest(path, passed_over)
        except CheckpointError as error:
            passed_over.append(str(error))
    return Newest(None, passed_over)


def iterations_of(path: Path) -> int:
    """Return the number of training iterations of a checkpoint.

    Raises:
        CheckpointError: the file is unreadable, or does not contain the number.
    """
    iteration = find_meta(read_checkpoint(str(path), 'meta')).get('iter')
    if not is_count(iteration):
        raise CheckpointError(
            f'{path}: expected a checkpoint of training, with its iteration in meta, got '
            f'{reprlib.repr(iteration)}'
        )
    return iteration


def set_aside(place: Place, paths: Sequence[Path], *, whole_run: bool) -> None:
    """Move a run's checkpoints to a folder next to them, to make room for another run.

    The new run's CheckpointHook removes that folder after its first complete checkpoint. With
    ``whole_run`` the best checkpoints and the files about the last ones are moved too.
    """
    aside = place.folder / OVERWRITTEN
    aside.mkdir(exist_ok=True)
    others = [*place.folder.glob('best_*.pth'), place.folder / LAST, place.folder / EVALUATED]
    for path in [*paths, *(others if whole_run else [])]:
        if path.is_file():
            os.replace(path, aside / path.name)
