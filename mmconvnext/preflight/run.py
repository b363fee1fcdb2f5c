"""All checks of a config's data before a run."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmconvnext.data.checks import evaluators
from mmconvnext.errors import UserError, first_line
from mmconvnext.preflight.annotations import boxes_of
from mmconvnext.preflight.coco import check_coco, labels_of, picture_path
from mmconvnext.preflight.coco_file import read_coco
from mmconvnext.preflight.configured import ConfiguredDataset, configured_datasets
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.heads import check_heads
from mmconvnext.preflight.pictures import check_copies, check_pictures, check_sizes
from mmconvnext.preflight.read_files import Facts, Pair, read_pairs
from mmconvnext.preflight.segmentation import (
    check_labels,
    check_reading,
    class_counts,
    list_pairs,
)

# Called with (name of the data set, pictures read, pictures in all).
Report = Callable[[str, int, int], None]
Reader = Callable[[Sequence[Pair]], list[Facts]]


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
    checks = {'coco': _check_coco, 'segmentation': _check_segmentation}
    if datasets and not any(dataset.kind in checks for dataset in datasets):
        raise UserError(
            f'data: expected COCO json or label files, got {datasets[0].config.get("type")} alone, '
            'which cannot be checked; folders of classes are looked through by tools/train.py'
        )
    check_heads(config, datasets, findings)
    read, summaries = {}, []
    for dataset in datasets:
        told = findings.of_split(dataset.name)
        if dataset.kind not in checks:
            told.warning(
                'not checked',
                f'{dataset.config.get("type")} reads neither COCO json nor label files: its data '
                'were not checked',
            )
            continue
        reader = partial(_read, dataset.name, jobs if open_files else 0, report)
        try:
            summary, facts = checks[dataset.kind](config, dataset, reader, told)
        except (OSError, AssertionError) as error:  # a folder or a list that is not there
            told.error('data missing', first_line(error))
            continue
        summary.picture_sizes = Counter(fact.size for fact in facts if fact.size)
        summaries.append(summary)
        read[dataset.name] = facts
    check_copies(read, {dataset.name: dataset.split for dataset in datasets}, findings)
    _check_training_classes(summaries, findings.of_split('train'))
    return Preflight(findings, summaries)


def _read(name: str, jobs: int, report: Report | None, pairs: Sequence[Pair]) -> list[Facts]:
    """What is in the files of a data set; nothing without jobs."""
    facts = []
    for fact in read_pairs(pairs, jobs) if jobs else ():
        facts.append(fact)
        if report:
            report(name, len(facts), len(pairs))
    return facts


def _check_coco(
    config: Config, dataset: ConfiguredDataset, read: Reader, findings: Findings
) -> tuple[Summary, list[Facts]]:
    summary = Summary(dataset.name, 'instances', dataset.classes)
    _check_evaluators(config, dataset, findings)
    try:
        file = read_coco(dataset.built.ann_file)
    except UserError as error:
        findings.error('annotation file', str(error))
        return summary, []
    used = check_coco(dataset, file, findings)
    labels = labels_of(dataset, file)
    found = Counter(labels[file.annotations[place]['category_id']] for place in used)
    summary.pictures = len(file.images)
    summary.annotated = len({file.annotations[place]['image_id'] for place in used})
    summary.counts = [found[label] for label in range(len(dataset.classes))]
    summary.object_sizes = np.sqrt(boxes_of(file)[0][used, 2:].prod(axis=1))
    loader = dataset.step('LoadImageFromFile')
    how = {
        'backend': loader.get('imdecode_backend', 'cv2'),
        'flag': loader.get('color_type', 'color'),
    }
    facts = read([Pair(picture_path(dataset, image), **how) for image in file.images])
    check_pictures(facts, findings)
    check_sizes(facts, file.images, findings)
    return summary, facts


def _check_evaluators(config: Config, dataset: ConfiguredDataset, findings: Findings) -> None:
    """Whether the evaluator reads the annotations that its data set has."""
    for evaluator in evaluators(config, dataset.split):
        file = evaluator.get('ann_file')
        if file and not _same_file(file, dataset.built.ann_file):
            findings.error(
                'ann_file of the evaluator',
                f'{dataset.split}_evaluator.ann_file: expected {dataset.built.ann_file}, which '
                f'{dataset.split}_dataloader reads, got {file}',
            )


def _same_file(first: str, second: str) -> bool:
    if os.path.abspath(first) == os.path.abspath(second):
        return True
    files = Path(first), Path(second)
    return all(f.is_file() for f in files) and files[0].read_bytes() == files[1].read_bytes()


def _check_segmentation(
    config: Config, dataset: ConfiguredDataset, read: Reader, findings: Findings
) -> tuple[Summary, list[Facts]]:
    summary = Summary(dataset.name, 'pixels', dataset.classes)
    check_reading(config, dataset, findings)
    pairs = list_pairs(dataset, findings)
    facts = read(pairs)
    check_pictures(facts, findings)
    ids = check_labels(config, dataset, facts, findings)
    summary.pictures = len(pairs)
    summary.annotated = sum(bool(fact.counts) for fact in facts)
    summary.counts = class_counts(dataset, ids)
    return summary, facts


def _check_training_classes(summaries: list[Summary], findings: Findings) -> None:
    """Classes that training never sees."""
    trained = [summary for summary in summaries if summary.name.startswith('train')]
    names = trained[0].classes if trained else ()
    counted = [summary.counts for summary in trained if len(summary.counts) == len(names)]
    seen = [any(counts) for counts in zip(*counted)]
    if any(seen):  # else nothing was read, which is another finding
        findings.warning(
            'classes that never occur',
            'classes that never occur in training: they cannot be learnt',
            [name for name, occurs in zip(names, seen) if not occurs],
        )
