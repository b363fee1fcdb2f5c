"""Write a config that trains on a custom dataset."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from mmconvnext.custom_dataset.coco import read_own_coco
from mmconvnext.custom_dataset.config import (
    Entries,
    base_path,
    find_base,
    for_coco,
    for_labels,
    is_detector,
    needed_crop,
    read_base,
    source,
)
from mmconvnext.custom_dataset.labels import (
    decide,
    find_labelled,
    read_classes,
    read_labelled,
    require_two_classes,
)
from mmconvnext.custom_dataset.schedule import Length, plan
from mmconvnext.errors import UserError
from mmconvnext.files import whole_file
from mmconvnext.preflight.heads import predicts_masks


@dataclass(frozen=True)
class OwnData:
    """The command line's options about the data; either both ``ann`` or both ``labels``."""

    train_images: str
    val_images: str
    train_ann: str = ''
    val_ann: str = ''
    train_labels: str = ''
    val_labels: str = ''
    classes: Sequence[str] | None = None
    reduce_zero_label: bool | None = None
    ignore_index: int | None = None


class _Adapted(NamedTuple):
    """Entries of the config, numbers of training and validation images, notices on the data."""

    entries: Entries
    training: int
    validation: int
    told: str


def write_custom_config(
    base: str,
    out: Path,
    data: OwnData,
    length: Length,
    *,
    batch_size: int | None = None,
    devices: int = 1,
    force: bool = False,
) -> list[str]:
    """Write a leaf config for a custom dataset, and return notices for the user.

    ``base`` is a file or ``mmconvnext::NAME.py``; ``batch_size`` is the images per device, or None
    for the base's; ``force`` overwrites ``out``. Raises UserError if an argument, a file or the
    data cannot be used.
    """
    paths = [value for value in vars(data).values() if isinstance(value, str)]
    for path in (base, str(out), *paths):
        if not _is_unicode(path):
            raise UserError(f'{path!r}: expected a path in UTF-8, got other bytes; rename it')
    file = find_base(base)
    _require_place(out, file, force)
    config = read_base(file)
    adapted = _adapt(config, file, data)
    for name in adapted.entries['classes']:
        if not _is_unicode(str(name)):
            raise UserError(f'classes: expected names in valid Unicode, got {name!r}; rename it')
    schedule = plan(config, adapted.training, batch_size, devices, length)
    text = source(
        _record(file, out, adapted, devices), base_path(file, out), adapted.entries, schedule
    )
    with whole_file(out, 'expected a place to write to') as partial:
        partial.write_text(text, encoding='utf-8')
    return [adapted.told, *schedule.notices] if adapted.told else schedule.notices


def train_command(out: Path, devices: int) -> str:
    """Return the command that trains the config."""
    file = shlex.quote(str(out))
    if devices > 1:
        return f'tools/dist_train.sh {file} {devices}'
    return f'python tools/train.py {file}'


def _is_unicode(text: str) -> bool:
    """Return whether a text is free of lone surrogates, which cannot be printed."""
    return not any('\ud800' <= character <= '\udfff' for character in text)


def _require_place(out: Path, base: Path, force: bool) -> None:
    if out.suffix != '.py':
        raise UserError(f'{out}: expected the name of a config, NAME.py; give it that ending')
    if out.exists() and out.samefile(base):
        raise UserError(f'{out}: expected a file other than the base; choose another name')
    if out.exists() and not force:
        raise UserError(f'{out} exists; give --force to overwrite it, or choose another name')


def _adapt(config: Config, base: Path, data: OwnData) -> _Adapted:
    given = {
        'ann': (data.train_ann, data.val_ann),
        'labels': (data.train_labels, data.val_labels),
    }
    kinds = [kind for kind, values in given.items() if any(values)]
    if len(kinds) != 1 or not all(given[kinds[0]]):
        raise UserError(
            'expected --train-ann and --val-ann (COCO json), or --train-labels and --val-labels '
            '(label maps), got neither or a mixture; give two of a kind'
        )
    wanted, other = ('ann', 'segmentation') if is_detector(config) else ('labels', 'detection')
    if kinds != [wanted]:
        raise UserError(
            f'{base}: expected --train-{wanted} and --val-{wanted} for this base, got the '
            f'others; give these, or choose a {other} config'
        )
    return _adapt_coco(config, data) if wanted == 'ann' else _adapt_labels(config, data)


def _adapt_coco(config: Config, data: OwnData) -> _Adapted:
    for name in ('classes', 'reduce_zero_label', 'ignore_index'):
        if getattr(data, name) is not None:
            raise UserError(
                f'--{name.replace("_", "-")}: expected only with label maps, got COCO json, '
                'which has category names; leave the option out'
            )
    paths = (data.train_ann, data.train_images, data.val_ann, data.val_images)
    own = read_own_coco(*paths)
    filtered = (config.train_dataloader.dataset.get('filter_cfg') or {}).get('filter_empty_gt')
    training = own.annotated if filtered else own.training
    told = ''
    if not own.has_masks:
        told = 'no annotation has a segmentation: only boxes are trained, without the mask head'
    elif not predicts_masks(config.model):
        told = 'the model has no mask head: only boxes are trained and evaluated'
    return _Adapted(for_coco(config, paths, own), training, own.validation, told)


def _adapt_labels(config: Config, data: OwnData) -> _Adapted:
    classes = read_classes(data.classes)
    folders = (
        find_labelled(data.train_images, data.train_labels),
        find_labelled(data.val_images, data.val_labels),
    )
    (ids, sizes), (other_ids, _) = map(read_labelled, folders)
    meaning = decide(ids + other_ids, classes, data.reduce_zero_label, data.ignore_index)
    require_two_classes(ids, meaning)
    crop = needed_crop(config, sizes)
    entries = for_labels(config, folders, meaning, crop)
    told = meaning.why
    if crop:
        told += f'; a crop to {crop[1]} × {crop[0]} was added, for images of several sizes'
    return _Adapted(entries, len(folders[0].names), len(folders[1].names), told)


def _record(base: Path, out: Path, adapted: _Adapted, devices: int) -> list[str]:
    """Return the lines of the config's docstring."""
    return [
        f'{base.stem} on other data, {len(adapted.entries["classes"])} classes: '
        f'{adapted.training:,} images to train on, {adapted.validation:,} to validate.',
        '',
        *([f'{adapted.told[0].upper()}{adapted.told[1:]}.'] if adapted.told else []),
        'Written by tools/custom_dataset.py. Check the data, then train:',
        f'    python tools/check_dataset.py {shlex.quote(str(out))}',
        f'    {train_command(out, devices)}',
    ]
