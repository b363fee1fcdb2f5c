"""Read a user's accuracy on the roadmap's steps from the work dirs of their runs.

Each start of tools/train.py and tools/test.py writes a folder ``WORK_DIR/TIMESTAMP`` with its
config in ``vis_data/config.py``. A training logs its evaluations in ``vis_data/scalars.json``, a
test its result in ``TIMESTAMP.json``. The configs are read as literals, without running them.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from mmengine.config import Config, ConfigDict

from mmconvnext.analysis.logs.runs import read_run
from mmconvnext.config.config_file import unusable_config
from mmconvnext.config.literal_source import LiteralError, read_literals
from mmconvnext.errors import UserError, first_line
from mmconvnext.studies.roadmap.steps import REGIMES, ROADMAP, find_design

METRIC = 'top1'
# The size of ConvNeXt at the end of each regime.
_ENDS = {'tiny': REGIMES[0], 'base': REGIMES[1]}


class DataSet(NamedTuple):
    """The dataset on which an accuracy was measured."""

    folder: str
    classes: int

    @property
    def label(self) -> str:
        """Return the last parts of the folder, short enough for a table, and the classes."""
        return f'{"/".join(Path(self.folder).parts[-2:])}, {self.classes} classes'


class OwnRun(NamedTuple):
    """The last evaluation of one start."""

    regime: str
    step: str
    data: DataSet
    top1: float  # in percent
    start: Path  # folder of the start
    unfinished: str = ''  # progress of a training that is running or was stopped


class OwnResult(NamedTuple):
    """The result of one step on one dataset, over runs in separate work dirs."""

    top1: float  # mean, in percent
    deviation: float | None  # standard deviation; None for a single run
    runs: int
    unfinished: str = ''  # progress of a single run, or number of unfinished runs

    @classmethod
    def of(cls, runs: Sequence[OwnRun]) -> Self:
        if len(runs) == 1:
            return cls(runs[0].top1, None, 1, runs[0].unfinished)
        values = [run.top1 for run in runs]
        unfinished = sum(bool(run.unfinished) for run in runs)
        note = f'{unfinished} unfinished' if unfinished else ''
        return cls(statistics.mean(values), statistics.stdev(values), len(runs), note)


# By regime and step, and by dataset.
OwnResults = dict[tuple[str, str], dict[DataSet, OwnResult]]


def read_own_runs(paths: Iterable[str | Path]) -> tuple[list[OwnRun], list[str]]:
    """Read the runs in work dirs, folders of them, or single scalars.json or TIMESTAMP.json files.

    Returns the runs, and a sentence about each start that is skipped. Raises UserError if a path
    has no run of the roadmap with a top-1 accuracy.
    """
    found: dict[Path, OwnRun] = {}
    left_out: list[str] = []
    for path in map(Path, paths):
        problems: list[str] = []
        before = len(found)
        for start in _starts(path):
            try:
                found[start.resolve()] = _read_start(start)
            except UserError as error:
                problems.append(str(error))
        if problems and len(found) == before:
            more = f' (and {len(problems) - 1} more)' if len(problems) > 1 else ''
            raise UserError(f'{problems[0]}{more}')
        left_out += problems
    return list(found.values()), left_out


def own_results(runs: Iterable[OwnRun]) -> OwnResults:
    """Return the results; only the latest run of each work dir counts."""
    latest: dict[tuple[str, str, DataSet], dict[Path, OwnRun]] = {}
    for run in sorted(runs, key=lambda one: one.start.name):
        place = (run.regime, run.step, run.data)
        latest.setdefault(place, {})[run.start.resolve().parent] = run
    results: OwnResults = {}
    for (regime, step, data), work_dirs in latest.items():
        results.setdefault((regime, step), {})[data] = OwnResult.of([*work_dirs.values()])
    return results


def _starts(path: Path) -> list[Path]:
    """Return the folders of starts, oldest first in each work dir."""
    wanted = 'expected a work dir of tools/train.py or tools/test.py, or a log in one'
    if not path.exists():
        raise UserError(f'{path}: {wanted}, got nothing')
    if path.is_file():
        if path.suffix != '.json':
            raise UserError(f'{path}: {wanted} (scalars.json or TIMESTAMP.json), got another file')
        return [path.absolute().parents[1 if path.absolute().parent.name == 'vis_data' else 0]]
    tests = (one.parent for one in path.rglob('*.json') if one.stem == one.parent.name)
    trainings = (one.parents[1] for one in path.rglob('vis_data/scalars.json'))
    found = sorted({*tests, *trainings})
    if not found:
        raise UserError(
            f'{path}: {wanted}, got a folder without TIMESTAMP/vis_data/scalars.json and '
            'TIMESTAMP/TIMESTAMP.json'
        )
    return found


def _read_start(start: Path) -> OwnRun:
    config = _read_config(start)
    if not isinstance(config.get('model'), dict):
        raise UserError(f'{start}: expected a config with a model, found none')
    regime, step = _place(start, config.model)
    test = start / f'{start.name}.json'
    if test.is_file():
        split, top1, unfinished = 'test', _tested(test), ''
    else:
        split, (top1, unfinished) = 'val', _last_evaluated(start, config)
    return OwnRun(regime, step, _data_set(config, split), top1, start, unfinished)


def _read_config(start: Path) -> Config:
    """Return the config of a start: its own, or the only one in the work dir."""
    candidates = [start / 'vis_data' / 'config.py']
    if not candidates[0].is_file():
        candidates = sorted(start.absolute().parent.glob('*.py'))
    if len(candidates) != 1:
        raise UserError(
            f'{start}: expected its config, vis_data/config.py or a single one in the work dir, '
            f'got {len(candidates)}'
        )
    try:
        return Config(read_literals(candidates[0].read_text(encoding='utf-8')))
    except (OSError, UnicodeDecodeError, LiteralError, KeyError) as error:
        raise UserError(unusable_config(candidates[0], error)) from error


def _place(start: Path, model: ConfigDict) -> tuple[str, str]:
    """Return regime and step of a model; ConvNeXt-T and -B are also the last steps."""
    backbone = model.get('backbone') or {}
    kind = str(backbone.get('type', 'no backbone')).removeprefix('mmconvnext.')
    if kind == 'RoadmapNet':
        step = backbone.get('step', ROADMAP[-1].name)
        regime = backbone.get('regime', REGIMES[0])
        find_design(step, regime)
        return regime, ROADMAP[0].name if step == regime else step
    arch = backbone.get('arch', 'tiny')
    if kind == 'ConvNeXt':
        if isinstance(arch, str) and arch in _ENDS and not backbone.get('use_grn'):
            return _ENDS[arch], ROADMAP[-1].name
        kind += f' {arch}'
    raise UserError(
        f'{start}: expected a run of a RoadmapNet, or of a ConvNeXt tiny or base, got {kind}; '
        'give runs of configs/roadmap_resnet50_in1k.py and the like'
    )


def _tested(path: Path) -> float:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: expected a JSON object ({first_line(error)})') from error
    return _percent(path, _top1s(values) if isinstance(values, dict) else [])


def _last_evaluated(start: Path, config: Config) -> tuple[float, str]:
    """Return the top-1 of a training's last evaluation, and its progress if unfinished."""
    found = [
        (value, point)
        for point in read_run(start, start.name).evaluations
        for value in _top1s(point.values)
        if math.isfinite(value)
    ]
    top1 = _percent(start, [value for value, _ in found[-1:]])
    evaluation, train = found[-1][1], config.get('train_cfg') or {}
    if evaluation.epoch is not None:
        unit, reached, end = 'epoch', evaluation.epoch, train.get('max_epochs')
    else:
        unit, reached, end = 'iteration', evaluation.iteration, train.get('max_iters')
    return top1, f'{unit} {reached} of {end}' if end and reached < end else ''


def _top1s(values: Mapping[str, Any]) -> list[Any]:
    return [value for name, value in values.items() if name.split('/')[-1] == METRIC]


def _percent(path: Path, found: Sequence[Any]) -> float:
    if not found or not isinstance(found[0], int | float) or not 0 <= found[0] <= 100:
        raise UserError(
            f'{path}: expected an evaluation with {METRIC} in percent, got '
            f'{"none" if not found else found[0]}; an evaluation comes at the end of an epoch'
        )
    return float(found[0])


def _data_set(config: Config, split: str) -> DataSet:
    loader = config.get(f'{split}_dataloader') or config.get('val_dataloader') or {}
    dataset = loader.get('dataset') or {}
    prefix = dataset.get('data_prefix') or {}
    prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
    root = dataset.get('data_root') or ''
    folder = Path(root, prefix).as_posix() if root or prefix else 'an unknown dataset'
    return DataSet(folder, int(config.model.get('num_classes') or 1000))
