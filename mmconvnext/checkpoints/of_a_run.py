"""Which checkpoints a work dir holds, and which of them a run goes on from."""

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
LAST = 'last_checkpoint'  # what mmengine writes beside them: the name of the newest one
# What is written beside them: after how many iterations the last evaluation came to its end.
EVALUATED = 'last_evaluation'
# Where those of a run before go when another run takes its work dir, until that has its first.
OVERWRITTEN = 'overwritten'


class Place(NamedTuple):
    """The folder of a run's checkpoints, and how they are named."""

    folder: Path
    templates: tuple[str, ...]


def checkpoint_place(config: Mapping, work_dir: str) -> Place:
    """Where the checkpoints of a run are, as the CheckpointHook of its config says."""
    hook = _checkpoint_hook(config)
    own = hook.get('filename_tmpl')
    templates = TEMPLATES if own in (None, *TEMPLATES) else (own, *TEMPLATES)
    if hook.get('out_dir') is None:
        return Place(Path(work_dir), templates)
    return Place(Path(hook['out_dir']) / Path(work_dir).absolute().name, templates)


def is_elsewhere(config: Mapping) -> bool:
    """Whether a run's checkpoints go to another machine, such as ``s3://…``."""
    return '://' in str(_checkpoint_hook(config).get('out_dir'))


def _checkpoint_hook(config: Mapping) -> Mapping:
    return (config.get('default_hooks') or {}).get('checkpoint') or {}


class Newest(NamedTuple):
    """The checkpoint to go on from, if any, and why others were passed over, a line each."""

    path: Path | None
    passed_over: list[str]


def step_of(name: str, templates: Iterable[str] = TEMPLATES) -> int | None:
    """The iteration or epoch that a file name of a run's checkpoint tells; None for other files."""
    for template in templates:
        before, _, rest = template.partition('{')  # of `{}` and `{:06d}` alike
        after = rest.partition('}')[2]
        if found := re.fullmatch(rf'{re.escape(before)}(\d+){re.escape(after)}', name):
            return int(found[1])
    return None


def run_checkpoints(folder: Path, templates: Sequence[str] = TEMPLATES) -> list[Path]:
    """The checkpoints of training in a folder, by the number in their names."""
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.is_file())
    steps = {path: step for path in files if (step := step_of(path.name, templates)) is not None}
    return sorted(steps, key=steps.__getitem__)


def newest_whole(folder: Path, templates: Sequence[str] = TEMPLATES) -> Newest:
    """Find the checkpoint with the most iterations that is complete and undamaged.

    The files' own names and content decide: it does not matter whether ``last_checkpoint`` is
    there, nor where the folder was when they were written.
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
    """How many iterations of training a checkpoint has seen.

    Raises:
        CheckpointError: it is unreadable, or does not tell.
    """
    iteration = find_meta(read_checkpoint(str(path), 'meta')).get('iter')
    if not is_count(iteration):
        raise CheckpointError(
            f'{path}: expected a checkpoint of training, with its iteration in meta, got '
            f'{reprlib.repr(iteration)}'
        )
    return iteration


def set_aside(place: Place, paths: Sequence[Path], *, whole_run: bool) -> None:
    """Move checkpoints out of the way of another run, into a folder beside them.

    That run's CheckpointHook removes them there when its first checkpoint is complete. With
    ``whole_run`` the best ones go too, and what tells of the last ones.
    """
    aside = place.folder / OVERWRITTEN
    aside.mkdir(exist_ok=True)
    others = [*place.folder.glob('best_*.pth'), place.folder / LAST, place.folder / EVALUATED]
    for path in [*paths, *(others if whole_run else [])]:
        if path.is_file():
            os.replace(path, aside / path.name)
