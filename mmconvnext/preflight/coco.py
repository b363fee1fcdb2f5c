"""Check a COCO annotation file for mmdet's CocoDataset."""

import filecmp
import os
from collections import Counter
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmconvnext.data.checks import evaluators
from mmconvnext.data.coco_file import CocoFile, quoted, read_coco, repeated, require_usable
from mmconvnext.errors import UserError
from mmconvnext.preflight.annotations import check_boxes, check_masks
from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings, Summary
from mmconvnext.preflight.pictures import check_images, check_pixel_formats, check_sizes
from mmconvnext.preflight.read_files import Facts, Pair, Reader


def check_coco(
    config: Config, dataset: ConfiguredDataset, read: Reader, findings: Findings
) -> tuple[Summary, list[Facts]]:
    """Check a dataset's annotation file, evaluator and images."""
    summary = Summary(dataset.name, 'instances', dataset.classes)
    _check_evaluators(config, dataset, findings)
    try:
        file = read_coco(dataset.built.ann_file)
    except UserError as error:
        findings.error('annotation file', str(error))
        return summary, []
    # CocoDataset numbers classes in the order of the json.
    named = [c['id'] for c in file.categories if c['name'] in dataset.classes]
    labels = {category: label for label, category in enumerate(named)}
    _check_ids(file, findings)
    _check_categories(dataset, file, labels, findings)
    boxes, used = _check_instances(dataset, file, labels, findings)
    _check_left(dataset, file, labels, used, findings)
    annotations = [file.annotations[place] for place in np.flatnonzero(used)]
    found = Counter(labels[annotation['category_id']] for annotation in annotations)
    _check_loading(file, findings)
    summary.images = len(file.images)
    summary.annotated = len({annotation['image_id'] for annotation in annotations})
    summary.counts = [found[label] for label in range(len(dataset.classes))]
    summary.object_sizes = np.sqrt(boxes[used, 2:].prod(axis=1))
    folder = (dataset.built.data_prefix or {}).get('img') or ''
    paths = [str(Path(folder, str(image['file_name']))) for image in file.images]
    facts = read([Pair(path, None, *dataset.decoding()) for path in paths])
    check_images(facts, findings)
    check_pixel_formats(facts, findings)
    check_sizes(facts, file.images, dataset.decoding()[1], findings)
    return summary, facts


def _check_loading(file: CocoFile, findings: Findings) -> None:
    """Report what loading refuses, if no other check has found it."""
    if any(finding.split == findings.split for finding in findings.of('error')):
        return
    try:
        require_usable(file)
    except UserError as error:
        findings.error('annotation file', str(error))


def _check_evaluators(config: Config, dataset: ConfiguredDataset, findings: Findings) -> None:
    """Check that the evaluator reads the annotations of its dataset."""
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
    return os.path.isfile(first) and os.path.isfile(second) and filecmp.cmp(first, second, False)


def _check_instances(
    dataset: ConfiguredDataset, file: CocoFile, labels: dict[object, int], findings: Findings
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 4) boxes, and (N,) bool: whether training uses the annotation."""
    boxes, used = check_boxes(file, findings)
    known = np.array([a['category_id'] in labels for a in file.annotations], bool)
    crowds = np.array([a['iscrowd'] == 1 for a in file.annotations], bool)
    if crowds.any():
        findings.note(
            'crowds',
            f'{crowds.sum():,} annotations are crowds (iscrowd=1): ignored in training and '
            'evaluation',
        )
    used = used & known & ~crowds
    if dataset.step('LoadAnnotations').get('with_mask'):
        check_masks(file, used, findings)
    return boxes, used


def _check_ids(file: CocoFile, findings: Findings) -> None:
    for name, lacks in file.incomplete.items():
        lacking = sorted({key for keys in lacks.values() for key in keys})
        findings.error(
            'incomplete records',
            f'{name} without {", ".join(lacking)}, which mmdet needs: training fails; add them '
            'to the json',
            lacks,
        )
    lists = {'image': file.images, 'annotation': file.annotations, 'category': file.categories}
    for name, records in lists.items():
        findings.error(
            f'duplicate {name} ids',
            f'{name} ids that occur more than once: the last one hides the others, or mmdet '
            'fails; renumber them',
            repeated(record['id'] for record in records),
        )
        findings.add(
            # faster-coco-eval accepts text only as image ids.
            *('warning' if name == 'image' else 'error', f'{name} ids no integers'),
            f'{name} ids that are not integers, as COCO and its evaluation need; renumber them',
            [repr(r['id']) for r in records if type(r['id']) is not int],
        )
    findings.error(
        'duplicate categories',
        'category names that occur more than once: mmdet counts a class too many; rename or '
        'merge them',
        repeated(category['name'] for category in file.categories),
    )
    findings.warning(
        'repeated images',
        'files in several entries of images: they count twice',
        repeated(image['file_name'] for image in file.images),
    )
    ids = {image['id'] for image in file.images}
    findings.warning(
        'annotations without image',
        'annotations with an image_id that is not in images: silently ignored (ids of '
        'annotations); correct their image_id',
        [a['id'] for a in file.annotations if a['image_id'] not in ids],
        len(file.annotations),
    )


def _check_categories(
    dataset: ConfiguredDataset, file: CocoFile, labels: dict[object, int], findings: Findings
) -> None:
    classes = dataset.classes
    names = {category['id']: category['name'] for category in file.categories}
    given = (dataset.config.get('metainfo') or {}).get('classes')
    # A text may be the name of a file with names, which mmengine has already read.
    if isinstance(dataset.built.metainfo.get('classes'), str):
        findings.error(
            'classes is a text',
            f'metainfo.classes: expected a tuple of names, got the text {given!r}; a single class '
            "is ('name',), with a comma",
        )
        return
    findings.error(
        'unknown category',
        'category_ids of annotations that are not in categories: mmdet drops them silently',
        sorted({a['category_id'] for a in file.annotations} - {*names}, key=str),
    )
    whose = 'of metainfo' if given else f"of {dataset.config.get('type')}'s own"
    absent = [name for name in classes if name not in names.values()]
    findings.error(
        'classes not in json',
        f'classes {whose} that are not categories of {file.path}: labels shift or all boxes are '
        f'dropped; set metainfo to the names in the json ({quoted(names.values(), 80)})',
        absent,
    )
    counts = Counter(names.get(a['category_id']) for a in file.annotations)
    findings.add(
        # A subset of the categories may be intended, but not if other names are wrong.
        *('error' if absent or not given else 'warning', 'categories not in classes'),
        f'categories of the json that are not classes {whose}: mmdet drops their annotations '
        'silently; add them to metainfo',
        [f'{n} ({counts[n]} annotations)' for n in names.values() if n not in classes],
    )
    order = [names[category] for category in labels]
    if not absent and len(order) == len(classes) and order != list(classes):
        findings.error(
            'order of classes',
            'metainfo.classes and the categories of the json are in different orders, and labels '
            f'follow the json: names are swapped; set classes=({quoted(order, 200)})',
        )


def _check_left(
    dataset: ConfiguredDataset,
    file: CocoFile,
    labels: dict[object, int],
    used: np.ndarray,
    findings: Findings,
) -> None:
    """Check the images and boxes that are left after CocoDataset's filters."""
    unfiltered = dataset.config.get('test_mode')
    options = {} if unfiltered else dataset.config.get('filter_cfg') or {}
    annotated = {a['image_id'] for a in file.annotations if a['category_id'] in labels}
    empty = [image for image in file.images if image['id'] not in annotated]
    fate = 'kept as background'
    if options.get('filter_empty_gt'):
        fate = 'left out (filter_empty_gt=True); set it to False to train on them as background'
    findings.note(
        'images without annotation',
        f'images without annotation: {fate}',
        [image['file_name'] for image in empty],
    )
    least = options.get('min_size', 0)
    small = [i for i in file.images if min(_number(i['width']), _number(i['height'])) < least]
    findings.note(
        'small images',
        f'images with a side below {least} pixels: left out (filter_cfg.min_size)',
        [image['file_name'] for image in small],
    )
    left_out = {id(i) for i in [*small, *(empty if options.get('filter_empty_gt') else [])]}
    if len(left_out) == len(file.images):
        findings.error(
            'nothing left',
            f'no image of {len(file.images)} is left: see the other findings, and filter_cfg',
        )
    elif not used.any():
        findings.error(
            'no boxes',
            f'no box of {len(file.annotations)} is left: there is nothing to '
            + ('evaluate' if unfiltered else 'train on'),
        )


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
