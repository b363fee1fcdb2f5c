"""All checks of a config's data before a run."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmconvnext.errors import UserError, first_line
from mmconvnext.preflight.boxes import boxes_of
from mmconvnext.preflight.coco import check_coco, labels_of, picture_path
from mmconvnext.preflight.coco_file import read_coco
from mmconvnext.preflight.configured import ConfiguredDataset, configured_datasets
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.heads import check_heads, class_heads
from mmconvnext.preflight.pictures import check_copies, check_pictures, check_sizes
from mmconvnext.preflight.read_files import Facts, Pair, read_pairs
from mmconvnext.preflight.segmentation import (
    IGNORED,
    check_labels,
    check_reading,
    count_labels,
    list_pairs,
)

# Called with (name of the data set, pictures read, pictures in all).
Report = Callable[[str, int, int], None]


@dataclass
class Summary:
    """Numbers of one data set.

    ``counts`` are instances or pixels of each class, as ``unit`` says; ``object_sizes`` square
    roots of the areas of boxes in pixels; ``picture_sizes`` counts (width, height).
    """

    name: str
    unit: str
    classes: tuple[str, ...]
    pictures: int = 0
    annotated: int = 0
    counts: list[int] = field(default_factory=list)
    object_sizes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    picture_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass
class Preflight:
    """What the checks found, and the numbers of each data set."""

    findings: Findings
    summaries: list[Summary]


def preflight(
    config: Config, *, jobs: int = 1, open_files: bool = True, report: Report | None = None
) -> Preflight:
    """Check the data sets of all splits, the heads and the evaluators of a config.

    Args:
        config: The config.
        jobs: Processes that read pictures.
        open_files: Whether to read them at all; without it, what the config and the json say is
            checked in seconds.
        report: Told how far the reading is.

    Raises:
        UserError: a process that read pictures died, or no data set is of a known kind.
    """
    findings = Findings()
    datasets = configured_datasets(config, findings)
    _require_a_known_kind(datasets)
    check_heads(config, datasets, findings)
    read, summaries = {}, []
    for dataset in datasets:
        check = _CHECKS.get(dataset.kind)
        if check is None:
            findings.add(
                *('warning', dataset.name, 'not checked'),
                f'{dataset.config.get("type")} reads neither COCO json nor label files: its data '
                'were not checked',
            )
            continue
        reader = _Reader(dataset.name, jobs if open_files else 0, report)
        try:
            summary, read[dataset.name] = check(config, dataset, reader, findings)
        except (OSError, AssertionError) as error:  # a folder or a list that is not there
            findings.add('error', dataset.name, 'data missing', first_line(error))
            continue
        summaries.append(summary)
    check_copies(read, {dataset.name: dataset.split for dataset in datasets}, findings)
    _compare_classes(summaries, findings)
    return Preflight(findings, summaries)


def _require_a_known_kind(datasets: Sequence[ConfiguredDataset]) -> None:
    if datasets and not any(dataset.kind in _CHECKS for dataset in datasets):
        raise UserError(
            f'data: expected COCO json or label files, got {datasets[0].config.get("type")} alone, '
            'which cannot be checked; folders of classes are looked through by tools/train.py'
        )


@dataclass(frozen=True)
class _Reader:
    """Reads the files of one data set; none without jobs."""

    name: str
    jobs: int
    report: Report | None

    def __call__(self, pairs: Sequence[Pair]) -> list[Facts]:
        return list(self._counted(read_pairs(pairs, self.jobs), len(pairs))) if self.jobs else []

    def _counted(self, facts: Iterable[Facts], total: int) -> Iterator[Facts]:
        for done, fact in enumerate(facts, 1):
            yield fact
            if self.report:
                self.report(self.name, done, total)


def _check_coco(
    config: Config, dataset: ConfiguredDataset, read: _Reader, findings: Findings
) -> tuple[Summary, list[Facts]]:
    summary = Summary(dataset.name, 'instances', dataset.classes)
    _check_evaluators(config, dataset, findings)
    try:
        file = read_coco(dataset.built.ann_file)
    except UserError as error:
        findings.add('error', dataset.name, 'annotation file', str(error))
        return summary, []
    used = check_coco(dataset, file, findings)
    labels = labels_of(dataset, file)
    found = Counter(labels[file.annotations[place]['category_id']] for place in used)
    boxes, _ = boxes_of(file)
    summary.pictures = len(file.images)
    summary.annotated = len({file.annotations[place]['image_id'] for place in used})
    summary.counts = [found[label] for label in range(len(dataset.classes))]
    summary.object_sizes = np.sqrt(boxes[used, 2:].prod(axis=1))
    loader = dataset.step('LoadImageFromFile')
    how = {
        'backend': loader.get('imdecode_backend', 'cv2'),
        'flag': loader.get('color_type', 'color'),
    }
    facts = read([Pair(picture_path(dataset, image), **how) for image in file.images])
    check_pictures(dataset.name, facts, findings)
    check_sizes(dataset.name, facts, file.images, findings)
    summary.picture_sizes = Counter(fact.size for fact in facts if fact.size)
    return summary, facts


def _check_evaluators(config: Config, dataset: ConfiguredDataset, findings: Findings) -> None:
    """Whether the evaluator reads the annotations that its data set has."""
    evaluators = config.get(f'{dataset.split}_evaluator') or []
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        file = evaluator.get('ann_file')
        if file and not _same_file(file, dataset.built.ann_file):
            findings.add(
                *('error', dataset.name, 'ann_file of the evaluator'),
                f'{dataset.split}_evaluator.ann_file: expected {dataset.built.ann_file}, which '
                f'{dataset.split}_dataloader reads, got {file}',
            )


def _same_file(first: str, second: str) -> bool:
    if os.path.abspath(first) == os.path.abspath(second):
        return True
    files = Path(first), Path(second)
    return all(f.is_file() for f in files) and files[0].read_bytes() == files[1].read_bytes()


def _check_segmentation(
    config: Config, dataset: ConfiguredDataset, read: _Reader, findings: Findings
) -> tuple[Summary, list[Facts]]:
    summary = Summary(dataset.name, 'pixels', dataset.classes)
    check_reading(config, dataset, findings)
    pairs = list_pairs(dataset, findings)
    facts = read(pairs)
    check_pictures(dataset.name, facts, findings)
    heads = [head for _, head in class_heads(config.get('model') or {})]
    ignored = heads[0].get('ignore_index', IGNORED) if heads else IGNORED
    check_labels(dataset, facts, ignored, findings)
    ids: Counter[int] = Counter()
    for fact in facts:
        ids.update(fact.counts)
    summary.pictures = len(pairs)
    summary.annotated = sum(bool(fact.counts) for fact in facts)
    summary.counts, _ = count_labels(dataset, ids)
    summary.picture_sizes = Counter(fact.size for fact in facts if fact.size)
    return summary, facts


def _compare_classes(summaries: list[Summary], findings: Findings) -> None:
    """Classes that training never sees."""
    trained = [summary for summary in summaries if summary.name.startswith('train')]
    names = trained[0].classes if trained else ()
    seen = [0] * len(names)
    for summary in trained:
        if len(summary.counts) == len(seen):
            seen = [before + count for before, count in zip(seen, summary.counts)]
    if not any(seen):
        return  # nothing was read, which is another finding
    findings.add_offenders(
        *('warning', 'train', 'classes that never occur'),
        'classes that never occur in training: they cannot be learnt',
        [name for name, count in zip(names, seen) if not count],
    )


_CHECKS = {'coco': _check_coco, 'segmentation': _check_segmentation}
