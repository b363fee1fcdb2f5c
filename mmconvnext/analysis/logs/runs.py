"""Read the logs in a work dir: curves, evaluations and the scores of each class.

mmengine writes a folder for each start, ``WORK_DIR/TIMESTAMP``: ``vis_data/scalars.json``, with one
JSON object per line, and ``TIMESTAMP.log``, where metrics print a table of the classes.
"""

import json
import math
from collections.abc import Iterable, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

from mmconvnext.analysis.logs.class_scores import ClassScores, read_class_scores
from mmconvnext.errors import UserError

# Entries of a record other than measurements.
_NOT_MEASURED = ('step', 'iter', 'epoch', 'time', 'data_time', 'memory')


class Point(NamedTuple):
    """Values logged at an iteration."""

    iteration: int
    values: dict[str, float]
    epoch: int | None = None  # of an evaluation: the epoch before it, if epochs are counted


class Run(NamedTuple):
    """A training run from its first iteration to its last, across all its starts."""

    name: str
    training: list[Point]
    evaluations: list[Point]
    per_epoch: int | None  # iterations of an epoch; None if epochs are not counted
    classes: dict[str, ClassScores]  # of the last evaluation, by the kind of score

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Return iterations and values of a scalar; empty if the run does not have it."""
        points = [one for one in [*self.training, *self.evaluations] if key in one.values]
        return [one.iteration for one in points], [one.values[key] for one in points]

    def metrics(self) -> list[str]:
        """Return the names of the evaluations' metrics, without those of single classes."""
        names = dict.fromkeys(name for one in self.evaluations for name in one.values)
        return [name for name in names if not name.endswith('_precision')]

    def scalars(self) -> list[str]:
        """Return the names of all scalars that have a curve."""
        points = [*self.evaluations, *self.training]
        return list(dict.fromkeys(name for one in points for name in one.values))

    def summary(self) -> dict[str, Any]:
        """Return plain values: length, each metric's last and best (largest) value, and classes."""
        metrics = {}
        for name in self.metrics():
            iterations, values = self.curve(name)
            measured = [(v, i) for v, i in zip(values, iterations) if math.isfinite(v)]
            if measured:
                best, at = max(measured, key=lambda pair: (pair[0], -pair[1]))
                metrics[name] = {'last': measured[-1][0], 'best': best, 'best_at': at}
        classes = {
            kind: {name: None if math.isnan(value) else value for name, value in scores.items()}
            for kind, scores in self.classes.items()
        }
        last = max(point.iteration for point in [*self.training, *self.evaluations])
        return {'iterations': last, 'metrics': metrics, 'classes': classes}


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read the runs of several work dirs, each under the shortest name that tells them apart.

    Raises UserError if a work dir has no training logs, or broken ones.
    """
    paths = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
    absolute = [path.absolute() for path in paths]
    for parts in count(1):
        names = [Path(*path.parts[-parts:]).as_posix() for path in absolute]
        if len(set(names)) == len(names):
            break
    return [read_run(path, name) for path, name in zip(paths, names)]


def read_run(folder: Path, name: str) -> Run:
    """Read a work dir, or the folder of one start in it, as a run of this name.

    If a resumed run repeats iterations, the last start counts. Raises UserError if the folder has
    no training logs, or broken ones.
    """
    starts: list[_Start] = []
    per_epoch = None
    for path in _folders(folder):
        records = _read_lines(path / 'vis_data' / 'scalars.json')
        per_epoch = _iterations_per_epoch(records) or per_epoch
        training, evaluations = _split(records, per_epoch)
        if training:
            starts = [start.before(training[0].iteration) for start in starts]
        starts.append(_Start(training, evaluations, sorted(path.glob('*.log'))))
    training = [point for start in starts for point in start.training]
    evaluations = [point for start in starts for point in start.evaluations]
    if not training and not evaluations:
        raise UserError(f'{folder}: expected logs with at least one record, got empty ones')
    classes: dict[str, ClassScores] = {}
    for start in starts:
        classes.update(start.class_scores())
    if not classes and evaluations:
        classes = _precisions(evaluations[-1])
    return Run(name, training, evaluations, per_epoch, classes)


class _Start(NamedTuple):
    """Records that one start of a training run logged."""

    training: list[Point]
    evaluations: list[Point]
    logs: list[Path]

    def before(self, iteration: int) -> Self:
        """Return the records before an iteration, from which a later start repeats them."""
        return self._replace(
            training=[one for one in self.training if one.iteration < iteration],
            evaluations=[one for one in self.evaluations if one.iteration < iteration],
        )

    def class_scores(self) -> dict[str, ClassScores]:
        """Return the class scores of the last evaluation that counts."""
        last = len(self.evaluations) - 1
        tables = read_class_scores(self.logs) if self.evaluations else {}
        return {kind: found[last] for kind, found in tables.items() if last < len(found)}


def _folders(folder: Path) -> list[Path]:
    """Return the folders of a run's starts, oldest first."""
    if not folder.is_dir():
        what = 'a file' if folder.exists() else 'nothing'
        raise UserError(f'{folder}: expected the work dir of a training, got {what}')
    candidates = [folder, *sorted(folder.iterdir())]
    found = [path for path in candidates if (path / 'vis_data' / 'scalars.json').is_file()]
    if not found:
        raise UserError(
            f'{folder}: expected the work dir of a training, with TIMESTAMP/vis_data/scalars.json, '
            'got none; give the --work-dir of tools/train.py'
        )
    return found


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file; the last line may be incomplete if the run was killed."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: expected lines of JSON ({error})') from error
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f'a {type(record).__name__}')
            records.append(record)
        except ValueError as error:
            if number < len(lines) or not records:
                raise UserError(
                    f'{path}: expected a JSON object in each line, got another thing in line '
                    f'{number} ({error})'
                ) from error
    return records


def _split(
    records: Iterable[dict[str, Any]], per_epoch: int | None
) -> tuple[list[Point], list[Point]]:
    """Split records into training, which have an ``iter``, and evaluations, which have none."""
    training: list[Point] = []
    evaluations: list[Point] = []
    epoch, iteration = None, 0
    for record in records:
        values = {
            key: float(value)
            for key, value in record.items()
            if key not in _NOT_MEASURED and isinstance(value, int | float)
        }
        if 'iter' in record:
            epoch, iteration = record.get('epoch'), record['iter']
            training.append(Point(iteration, values))
        elif values:
            # -1 means: there is no ground truth.
            values = {key: math.nan if one == -1 else one for key, one in values.items()}
            step = place = record.get('step', iteration)
            by_epoch = epoch is not None and step <= epoch  # the step counts epochs
            if by_epoch:
                place = step * per_epoch if per_epoch else iteration
            evaluations.append(Point(place, values, step if by_epoch else None))
    return training, evaluations


def _iterations_per_epoch(records: Iterable[dict[str, Any]]) -> int | None:
    """Return iterations per epoch, from the distance of two epochs' first records."""
    first: dict[int, int] = {}
    for record in records:
        if 'iter' in record and 'epoch' in record:
            first.setdefault(record['epoch'], record['iter'])
    for (epoch, iteration), (next_epoch, next_iteration) in pairwise(sorted(first.items())):
        if next_epoch == epoch + 1:
            return next_iteration - iteration
    return None


def _precisions(evaluation: Point) -> dict[str, ClassScores]:
    """Return the AP of each class, by mmdet's names in scalars.json."""
    scores = {
        name.rpartition('/')[2].removesuffix('_precision'): 100 * value
        for name, value in evaluation.values.items()
        if name.endswith('_precision')
    }
    return {'AP': scores} if scores else {}


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of the ``window`` values around each value; nan is ignored.

    There are fewer values at the ends. Values on both sides count, so that the curve does not lag.
    """
    half = window // 2
    return [mean(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def mean(values: Iterable[float]) -> float:
    """Return the mean of the finite values; nan if there are none."""
    measured = [value for value in values if math.isfinite(value)]
    return sum(measured) / len(measured) if measured else math.nan
