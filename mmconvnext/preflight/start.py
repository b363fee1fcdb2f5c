"""Check what a training would fail on, in a second or two, at its start."""

import os
from itertools import islice

from mmengine.config import Config

from mmconvnext.data.class_folders import ENDINGS
from mmconvnext.errors import UserError
from mmconvnext.preflight.configured import ConfiguredDataset, configured_datasets
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.heads import check_heads, check_outputs, class_heads
from mmconvnext.preflight.pictures import check_pixel_formats
from mmconvnext.preflight.read_files import Pair, glance
from mmconvnext.preflight.segmentation import list_pairs
from mmconvnext.preflight.trial import check_batches


def require_ready(config: Config) -> list[str]:
    """Check a config's heads and evaluators, and a few of its images; return notices for the log.

    Raises UserError if training would fail or learn nothing. ``tools/check_dataset.py`` checks
    everything.
    """
    findings = Findings()
    check_outputs(config, findings)
    # A classifier's folders are checked elsewhere, and may take minutes to list.
    known = any(class_heads(config.get('model') or {}))
    datasets = configured_datasets(config, Findings()) if known else []
    datasets = [one for one in datasets if one.kind and one.split != 'test']
    check_heads(config, datasets, findings)
    for dataset in datasets:
        told = findings.of_split(dataset.name)
        try:
            facts = glance(_pairs(dataset))
        except (OSError, AssertionError):  # the run names what is missing
            continue
        check_pixel_formats(facts, told)
        if dataset.kind == 'segmentation':
            check_batches(config, dataset, facts, told)
    if failing := findings.of('error'):
        raise UserError(failing[0].message)
    return [f'{one.split}: {one.message} ({one.offenders[0]})' for one in findings.of('warning')]


def _pairs(dataset: ConfiguredDataset) -> list[Pair]:
    if dataset.kind == 'segmentation':
        return list_pairs(dataset)
    # COCO's json may take minutes to read.
    folder = (dataset.built.data_prefix or {}).get('img') or '.'
    how = dataset.decoding()
    with os.scandir(folder) as entries:
        images = (e.path for e in entries if e.name.lower().endswith(ENDINGS))
        return [Pair(path, None, *how) for path in islice(images, 1000)]
