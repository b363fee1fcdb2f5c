"""Check label maps for mmseg's BaseSegDataset."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.config import Config

from mmconvnext.config_types import type_name
from mmconvnext.data.checks import evaluators
from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings, Summary
from mmconvnext.preflight.heads import class_heads, dotted
from mmconvnext.preflight.pictures import (
    check_images,
    check_pixel_formats,
    check_turned,
    fits,
    size_text,
)
from mmconvnext.preflight.read_files import MISSING, Facts, Pair, Reader
from mmconvnext.preflight.trial import check_batches

IGNORED = 255  # mmseg's label of id 0 with reduce_zero_label, ignored by default
RENUMBERING = ', with the command of docs/own_project.md'


def check_segmentation(
    config: Config, dataset: ConfiguredDataset, read: Reader, findings: Findings
) -> tuple[Summary, list[Facts]]:
    """Check the config's entries about label maps, the label maps and their images."""
    _check_reading(config, dataset, findings)
    pairs = list_pairs(dataset)
    _check_names(dataset, pairs, findings)
    facts = read(pairs)
    check_images(facts, findings)
    check_pixel_formats(facts, findings)
    _check_files(facts, findings)
    check_turned(facts, [fact.labels_size for fact in facts], dataset.decoding()[1], findings)
    check_batches(config, dataset, facts, findings)
    ids: Counter[int] = Counter()
    for fact in facts:
        ids.update(fact.counts)
    if ids:
        first = next((head for _, head in class_heads(config.get('model') or {})), {})
        _check_ids(dataset, facts, ids, first.get('ignore_index', IGNORED), findings)
    pixels: Counter[int] = Counter()
    for value, count in ids.items():
        pixels[_to_label(dataset, value)] += count
    summary = Summary(dataset.name, 'pixels', dataset.classes, len(pairs))
    summary.annotated = sum(bool(fact.counts) for fact in facts)
    summary.counts = [pixels[label] for label in range(len(dataset.classes))]
    occurring = [name for name, count in zip(dataset.classes, summary.counts) if count]
    if dataset.split == 'train' and len(occurring) == 1 < len(dataset.classes):
        findings.error(
            'only one class occurs',
            f'expected labels of 2 classes or more to train on, found only {occurring[0]}: there '
            'is nothing to tell apart; add label maps with other classes, or correct the ids',
        )
    return summary, facts


def list_pairs(dataset: ConfiguredDataset) -> list[Pair]:
    """Return the dataset's images and label maps; raise OSError or AssertionError without data."""
    how = *dataset.decoding(), dataset.step('LoadAnnotations').get('imdecode_backend', 'pillow')
    return [
        Pair(entry['img_path'], entry.get('seg_map_path'), *how)
        for entry in dataset.built.load_data_list()
    ]


def _check_names(dataset: ConfiguredDataset, pairs: Sequence[Pair], findings: Findings) -> None:
    """Report that there are no images, and label maps without image."""
    folders, suffix = dataset.built.data_prefix or {}, dataset.built.img_suffix
    if not pairs:
        findings.error(
            'no images',
            f'no *{suffix} in {folders.get("img_path")}; correct data_prefix or img_suffix',
        )
    elif folders.get('seg_map_path') and not dataset.built.ann_file:
        named, root = {pair.labels for pair in pairs}, Path(folders['seg_map_path'])
        unused = [
            path
            for path in sorted(root.rglob(f'*{dataset.built.seg_map_suffix}'))
            if str(path) not in named and not path.name.startswith('.')  # mmseg skips hidden files
        ]
        images = {
            path: Path(
                folders['img_path'],
                str(path.relative_to(root)).removesuffix(dataset.built.seg_map_suffix) + suffix,
            )
            for path in unused
        }
        findings.warning(
            'labels without image',
            f'label maps without a matching *{suffix}: they are not used',
            [path for path in unused if not images[path].is_symlink()],
        )
        findings.error(
            'broken links',
            'links to images that do not exist, which mmseg skips; correct or remove the links',
            [images[path] for path in unused if images[path].is_symlink()],
        )


def _to_label(dataset: ConfiguredDataset, value: int) -> int:
    """Return the label that mmseg's LoadAnnotations gives to an id in a file; 255 is ignored."""
    value %= 256  # mmseg converts all ids to uint8
    if dataset.built.reduce_zero_label:
        value = IGNORED if value in (0, IGNORED) else value - 1
    return (dataset.built.label_map or {}).get(value, value)


def _check_reading(config: Config, dataset: ConfiguredDataset, findings: Findings) -> None:
    """Check that dataset, pipeline, heads and evaluator ignore the same label."""
    given = dataset.step('LoadAnnotations').get('reduce_zero_label')
    if given is not None and given != dataset.built.reduce_zero_label:
        findings.error(
            'reduce_zero_label',
            f'LoadAnnotations has reduce_zero_label={given} and the dataset '
            f'{dataset.built.reduce_zero_label}: mmseg fails; set both to the same value',
        )
    model = config.get('model') or {}
    ignored = {
        f'{dotted(path)}.ignore_index': head.get('ignore_index', IGNORED)
        for path, head in class_heads(model)
    }
    padding = (model.get('data_preprocessor') or {}).get('seg_pad_val', IGNORED)
    ignored['model.data_preprocessor.seg_pad_val'] = padding
    for evaluator in evaluators(config, dataset.split):
        if type_name(evaluator) == 'IoUMetric':
            value = evaluator.get('ignore_index', IGNORED)
            ignored[f'{dataset.split}_evaluator.ignore_index'] = value
    if len(set(ignored.values())) > 1:
        text = ', '.join(f'{name} = {value}' for name, value in ignored.items())
        findings.error(
            'ignore_index',
            f'expected one ignored label, got {text}: padding or unlabelled pixels would '
            'count; set all to the same value',
        )


def _check_files(facts: Sequence[Facts], findings: Findings) -> None:
    """Report label maps that cannot be used, by problem, or do not match their images."""
    for problem in sorted({f.labels_problem for f in facts} - {''}):
        message = {
            MISSING: 'images without label map: training fails on them; add it, or '
            'remove the image',
            'fractions': 'label maps with fractions: expected integers from 0 to 255',
        }.get(problem, f'label maps that cannot be used ({problem}): training fails on them')
        if problem.endswith('channels'):
            message = (
                f'label maps with {problem}: expected one channel with ids, got colours; write '
                "the ids as grey values (mode 'L') or a palette (mode 'P')"
            )
        files = [f.labels for f in facts if f.labels_problem == problem]
        findings.error('label files', message, files)
    findings.error(
        'sizes of labels',
        'label maps with another size than their image: training fails or is wrong',
        [
            f'{f.labels} {size_text(f.labels_size)}, image {size_text(f.size)}'
            for f in facts
            if f.size and f.labels_size and not fits(f, f.labels_size)
        ],
    )


def _check_ids(
    dataset: ConfiguredDataset,
    facts: Sequence[Facts],
    ids: Counter[int],
    ignored: int,
    findings: Findings,
) -> None:
    classes = len(dataset.classes)
    findings.note('ids', _explanation(dataset, ids))
    wrong = {v for v in ids if not 0 <= v <= 255}
    findings.error(
        'ids beyond 255',
        f'label maps with ids beyond uint8 ({listed(wrong)}), which mmseg takes modulo 256',
        [f.labels for f in facts if wrong & f.counts.keys()],
    )
    wrong = {v for v in {*ids} - wrong if _to_label(dataset, v) not in {*range(classes), ignored}}
    advice = _advice(dataset, ids)
    findings.error(
        'ids without class',
        f'label maps with ids {listed(wrong)} that belong to no class: {advice}',
        [f.labels for f in facts if wrong & f.counts.keys()],
    )
    unlabelled = [
        f.labels
        for f in facts
        if f.counts and not any(_to_label(dataset, v) < classes for v in f.counts)
    ]
    findings.add(
        'error' if len(unlabelled) == sum(bool(f.counts) for f in facts) else 'warning',
        'nothing labelled',
        'label maps in which every pixel is ignored: they do not contribute to training and score',
        unlabelled,
    )
    if not wrong and {*ids} <= {0, 255} and 255 in ids:
        findings.error('0 and 255', advice)
    elif dataset.built.reduce_zero_label and {*ids} - {255} == {*range(classes)}:
        # All classes except the last: this hardly happens by chance.
        findings.warning('reduce_zero_label', advice)


def _explanation(dataset: ConfiguredDataset, ids: Counter[int]) -> str:
    """Return a line on how the ids are interpreted."""
    total = sum(ids.values())
    zero, top = ids.get(0, 0) / total, ids.get(255, 0) / total
    rule = f'id k is class k, 0 ({zero:.1%} of the pixels) too'
    reduced = dataset.built.reduce_zero_label
    if reduced:
        rule = f'0 ({zero:.1%} of the pixels) is ignored and id k is class k - 1'
    rest = f', 255 ({top:.1%}) is ignored' if top else ''
    return f'ids found: {listed(ids)}; reduce_zero_label={reduced}: {rule}{rest}'


def _advice(dataset: ConfiguredDataset, ids: Counter[int]) -> str:
    """Return what to do about ids that do not fit the classes."""
    classes = len(dataset.classes)
    values = {value for value in ids if value != 255}
    reduced = dataset.built.reduce_zero_label
    if {*ids} <= {0, 255}:
        return (
            'the labels are 0 and 255, and 255 means ignored: only one class is left to learn; '
            f'write 1 instead of 255{RENUMBERING}'
        )
    if changes := gaps(ids, classes):
        return f'the ids have gaps; write {changes}{RENUMBERING}'
    if not reduced and values and max(values) == classes:
        return (
            f'expected 0…{classes - 1}; if 0 means unlabelled, set reduce_zero_label=True in '
            f'dataset and LoadAnnotations, else add a class (num_classes={classes + 1})'
        )
    if reduced and values and max(values) == classes - 1:
        return (
            f'ids end at {classes - 1}, so that with reduce_zero_label=True the last class never '
            'occurs and id 0 is ignored; if 0 is a class, set it to False'
        )
    first = 1 if reduced else 0
    return (
        f'expected {first}…{classes - 1 + first} or 255 (reduce_zero_label={reduced}); name all '
        'classes in metainfo and num_classes, or correct the files'
    )


def gaps(ids: Iterable[int], classes: int | None = None) -> str:
    """Return how to renumber ids with gaps, such as ``1 instead of 128``, or ''.

    With ``classes`` only if there are as many ids, with or without 0; 255 counts if it is needed.
    """
    every = sorted({*ids})
    known = every if len(every) == classes else [value for value in every if value != IGNORED]
    if classes is not None and len(known) not in (classes, classes + (known[:1] == [0])):
        return ''
    first = int(known[:1] == [1])  # ids from 1 are as usual as ids from 0
    changes = [f'{new} instead of {old}' for new, old in enumerate(known, first) if new != old]
    return ', '.join(changes[:5]) + (', …' if len(changes) > 5 else '')


def listed(ids: Iterable[int]) -> str:
    """Return sorted ids, with ranges shortened, as in 0…5, 7."""
    runs: list[list[int]] = []
    for value in sorted(ids):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = [f'{r[0]}…{r[-1]}' if len(r) > 2 else ', '.join(map(str, r)) for r in runs]
    return ', '.join(texts[:8]) + (', …' if len(texts) > 8 else '')
