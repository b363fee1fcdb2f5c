"""Run all checks of a config's data."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mmengine.config import Config

from mmconvnext.errors import UserError, first_line
from mmconvnext.preflight.coco import check_coco
from mmconvnext.preflight.configured import configured_datasets
from mmconvnext.preflight.findings import Findings, Summary
from mmconvnext.preflight.heads import check_heads, check_outputs
from mmconvnext.preflight.pictures import check_copies
from mmconvnext.preflight.read_files import Facts, Pair, glance, read_pairs
from mmconvnext.preflight.segmentation import check_segmentation
from mmconvnext.preflight.trial import check_parts, check_run

# Called with (name of the dataset, images read, total images).
Report = Callable[[str, int, int], None]


@dataclass
class Preflight:
    """The findings, and the numbers of each dataset."""

    findings: Findings
    summaries: list[Summary]


def preflight(
    config: Config, *, jobs: int = 1, open_files: bool = True, report: Report | None = None
) -> Preflight:
    """Check the datasets of all splits, the heads and the evaluators of a config.

    ``jobs`` processes read the images. Without ``open_files`` only the config, the json and a few
    images are checked, in seconds. ``report`` is called with the progress of reading. Raises
    UserError if a process that reads images died, or no dataset has a known format.
    """
    findings = Findings()
    datasets = configured_datasets(config, findings)
    checks = {'coco': check_coco, 'segmentation': check_segmentation}
    if datasets and not any(dataset.kind in checks for dataset in datasets):
        raise UserError(
            f'data: expected COCO json or label maps, got only {datasets[0].config.get("type")}, '
            'which cannot be checked here; tools/train.py checks class folders'
        )
    check_heads(config, datasets, findings)
    check_outputs(config, findings)
    read, summaries = {}, []
    for dataset in datasets:
        told = findings.of_split(dataset.name)
        if dataset.kind not in checks:
            told.warning(
                'not checked',
                f'{dataset.config.get("type")} reads neither COCO json nor label maps: its data '
                'were not checked',
            )
            continue
        reader = partial(_read, dataset.name, jobs if open_files else 0, report)
        try:
            summary, facts = checks[dataset.kind](config, dataset, reader, told)
        except (OSError, AssertionError) as error:  # a missing folder or list
            told.error('data missing', first_line(error))
            continue
        summary.image_sizes = Counter(fact.size for fact in facts if fact.size)
        summaries.append(summary)
        read[dataset.name] = facts
    check_copies(read, {dataset.name: dataset.split for dataset in datasets}, findings)
    _check_training_classes(summaries, findings.of_split('train'))
    if not findings.of('error'):
        check_parts(config, findings)
    if not findings.of('error'):
        check_run(config, findings)
    return Preflight(findings, summaries)


def _read(name: str, jobs: int, report: Report | None, pairs: Sequence[Pair]) -> list[Facts]:
    """Return the contents of a dataset's files, without jobs only of a few headers."""
    if not jobs:
        return glance(pairs)
    facts = []
    for fact in read_pairs(pairs, jobs):
        facts.append(fact)
        if report:
            report(name, len(facts), len(pairs))
    return facts


def _check_training_classes(summaries: list[Summary], findings: Findings) -> None:
    """Report classes that never occur in training."""
    trained = [summary for summary in summaries if summary.name.startswith('train')]
    names = trained[0].classes if trained else ()
    counted = [summary.counts for summary in trained if len(summary.counts) == len(names)]
    seen = [any(counts) for counts in zip(*counted)]
    if any(seen):  # otherwise nothing was read, which is another finding
        findings.warning(
            'classes that never occur',
            'classes that never occur in training: they cannot be learnt',
            [name for name, occurs in zip(names, seen) if not occurs],
        )
