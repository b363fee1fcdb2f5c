"""Write a leaf config for a custom dataset: the differences from the base, as Python."""

import colorsys
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

import mmconvnext
from mmconvnext.config.config_file import read_config
from mmconvnext.config.python_source import UNPACKED, Code, assignment, docstring, literal
from mmconvnext.config_types import pipeline_steps, type_name
from mmconvnext.custom_dataset.coco import OwnCoco
from mmconvnext.custom_dataset.labels import LabelledFolder, Meaning
from mmconvnext.custom_dataset.schedule import Schedule
from mmconvnext.errors import UserError
from mmconvnext.preflight.heads import class_heads, dotted, predicts_masks
from mmconvnext.preflight.segmentation import IGNORED

Entries = dict[str, Any]

# Entries of a dataset that the config sets elsewhere.
_NAMED = dict(data_root=Code('data_root'), metainfo=Code('metainfo'))


def find_base(base: str) -> Path:
    """Return the file of a config given as a path or as ``mmconvnext::NAME.py``.

    mmengine's own ``::`` does not work here: it looks for all types of such a base in one scope,
    but the datasets are mmseg's or mmdet's. Raises UserError if there is no such config.
    """
    package, _, name = base.rpartition('::')
    path = Path(mmconvnext.__file__).parent / '.mim' / 'configs' / name if package else Path(base)
    if package not in ('', 'mmconvnext') or not path.is_file():
        there = path.parent if package else 'configs/'
        raise UserError(f'{base}: no such config file; see {there} for those there')
    return path


def read_base(base: Path) -> Config:
    """Read the base config.

    Raises UserError if it is not a config, wraps its training data, or uses classes as types.
    """
    config = read_config(base)
    for split in ('train', 'val'):
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
        if 'pipeline' not in dataset or 'dataset' in dataset:
            raise UserError(
                f'{base}: expected {split}_dataloader.dataset with a pipeline of its own, got '
                f'{dataset.get("type", "none")}; choose a whole config, without wrappers such as '
                'RepeatDataset'
            )
        if not all(
            isinstance(step.get('type'), str) for step in pipeline_steps(dataset['pipeline'])
        ):
            raise UserError(
                f'{base}: expected a pipeline whose types are names, got classes, which cannot be '
                'written to a config; choose a base that uses names'
            )
    return config


def is_detector(base: Config) -> bool:
    """Return whether the model is a detector."""
    return any('bbox_head' in path for path, _ in _heads(base))


def _heads(base: Config) -> list[tuple[tuple, dict]]:
    heads = list(class_heads(base.model))
    if not heads:
        raise UserError('BASE_CONFIG: expected a model with heads that have classes, got none')
    return heads


def base_path(base: Path, out: Path) -> str:
    """Return how the written file names its base: relative in the same tree, else absolute.

    Raises UserError if mmengine would misread the path.
    """
    there, here, tree = base.absolute(), out.absolute().parent, Path.cwd()
    in_tree = there.is_relative_to(tree) and here.is_relative_to(tree)
    path = Path(os.path.relpath(there, here) if in_tree else there).as_posix()
    if '::' in path:
        raise UserError(
            f'{path}: expected a path to the base config without `::`, which mmengine uses for '
            'packages; rename the folder'
        )
    return path


def palette(count: int) -> list[tuple[int, int, int]]:
    """Return distinct colours: hues a golden section apart, with alternating brightness."""
    colours = []
    for place in range(count):
        hue, value = place * 0.618 % 1, (0.9, 0.65, 1.0)[place % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.7, 0.5)[place // 3 % 3], value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def common_root(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return the common folder of all paths, and the paths relative to it."""
    if len({os.path.isabs(path) for path in paths}) > 1:
        paths = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath(paths) or '.'
    return root, [os.path.relpath(path, root) for path in paths]


def needed_crop(base: Config, sizes: set[tuple[int, int]]) -> tuple[int, int] | None:
    """Return height and width to crop to if the base cannot stack images of these sizes, or None.

    Its preprocessor pads images to a size, but does not cut larger ones.
    """
    size = (base.model.get('data_preprocessor') or {}).get('size')
    steps = {type_name(one) for one in pipeline_steps(base.train_dataloader.dataset.pipeline)}
    if not size or any('Resize' in step or 'Crop' in step for step in steps) or len(sizes) < 2:
        return None
    larger = any(width > size[1] or height > size[0] for width, height in sizes)
    return tuple(size) if larger else None


def for_labels(
    base: Config,
    folders: tuple[LabelledFolder, LabelledFolder],
    meaning: Meaning,
    crop: tuple[int, int] | None = None,
) -> Entries:
    """Return a segmentor config's entries for folders of label maps, cropped if ``crop`` is set."""
    root, places = common_root([p for f in folders for p in (f.images, f.labels)])
    reduced, ignored = meaning.reduce_zero_label, {}
    if meaning.ignore_index != IGNORED:
        ignored['ignore_index'] = meaning.ignore_index
    splits: dict[str, dict] = {}
    for split, folder, images, labels in zip(('train', 'val'), folders, places[::2], places[1::2]):
        splits[split] = {
            UNPACKED: Code('dataset'),
            'img_suffix': folder.image_suffix,
            'seg_map_suffix': folder.labels_suffix,
            'data_prefix': dict(img_path=images, seg_map_path=labels),
        }
        if base[f'{split}_dataloader'].dataset.get('ann_file'):
            splits[split]['ann_file'] = ''

    def change(step: dict) -> None:
        if type_name(step) == 'LoadAnnotations' and (reduced or 'reduce_zero_label' in step):
            step['reduce_zero_label'] = reduced
        if type_name(step) == 'RandomCrop':
            step.update(ignored)

    dataset = dict(type='BaseSegDataset', **_NAMED, reduce_zero_label=reduced, **ignored)
    entries = _data_entries(base, root, meaning.classes, dataset, splits, change, crop)
    model = _heads_with(base, dict(num_classes=len(meaning.classes), **ignored))
    if ignored:
        entries |= _evaluators(base, ignored)
        model['data_preprocessor'] = dict(seg_pad_val=meaning.ignore_index)
    return {**entries, 'model': model}


def for_coco(base: Config, paths: tuple[str, str, str, str], data: OwnCoco) -> Entries:
    """Return a detector config's entries for COCO json files.

    ``paths`` are the annotation file and image folder for training, then those for validation.
    """
    root, places = common_root(paths)
    splits = {
        split: {UNPACKED: Code('dataset'), 'ann_file': file, 'data_prefix': dict(img=f'{images}/')}
        for split, file, images in zip(('train', 'val'), places[::2], places[1::2])
    }
    model = _heads_with(base, dict(num_classes=len(data.classes)))
    evaluator: Entries = dict(ann_file=Code(f'data_root + {literal(f"/{places[2]}")}'))
    boxes_only = not data.has_masks or not predicts_masks(base.model)
    if boxes_only:
        evaluator['metric'] = 'bbox'
        if 'mask_head' in base.model.get('roi_head', ()):
            model['roi_head'] |= {'mask_head': None, 'mask_roi_extractor': None}
        if 'pad_mask' in (base.model.get('data_preprocessor') or {}):
            model['data_preprocessor'] = dict(pad_mask=False)

    def change(step: dict) -> None:
        if type_name(step) == 'LoadAnnotations' and boxes_only:
            step['with_mask'] = False

    dataset = dict(type='CocoDataset', **_NAMED)
    entries = _data_entries(base, root, data.classes, dataset, splits, change)
    return {**entries, **_evaluators(base, evaluator), 'model': model}


def _data_entries(
    base: Config,
    root: str,
    classes: tuple[str, ...],
    dataset: Entries,
    splits: dict[str, dict],
    change: Callable[[dict], None],
    crop: tuple[int, int] | None = None,
) -> Entries:
    """Return classes, pipelines with changed steps and, if set, a crop, and data loaders."""
    entries: Entries = {
        'data_root': root,
        'data_hint': 'put the data there that tools/custom_dataset.py was given',
        'classes': classes,
        'palette': palette(len(classes)),
        'metainfo': dict(classes=Code('classes'), palette=Code('palette')),
    }
    given = base.to_dict()
    pipelines = {
        'train_pipeline': given['train_dataloader']['dataset']['pipeline'],
        'test_pipeline': given['val_dataloader']['dataset']['pipeline'],
        'tta_pipeline': given.get('tta_pipeline') or [],
    }
    for name, pipeline in pipelines.items():
        before = repr(pipeline)
        if crop and name == 'train_pipeline':
            pipeline.insert(-1, dict(type='RandomCrop', crop_size=crop))
        for step in pipeline_steps(pipeline):
            change(step)
        if repr(pipeline) != before:
            entries[name] = pipeline
    for split, name in (('train', 'train_pipeline'), ('val', 'test_pipeline')):
        if name in entries:
            splits[split]['pipeline'] = Code(name)
    entries['dataset'] = dataset
    for split, one in splits.items():
        entries[f'{split}_dataloader'] = dict(dataset=one)
    entries['test_dataloader'] = Code('val_dataloader')
    return entries


def _evaluators(base: Config, changes: Entries) -> Entries:
    given = base.val_evaluator
    # A list is replaced as a whole.
    new = [one.to_dict() | changes for one in given] if isinstance(given, list) else changes
    return {'val_evaluator': new, 'test_evaluator': Code('val_evaluator')}


def _heads_with(base: Config, values: Entries) -> Entries:
    """Return a model entry that sets values in every head and keeps the rest of list entries."""
    model: Entries = {}
    for path, _ in _heads(base):
        in_list = isinstance(path[-1], int)
        *folders, name = path[:-1] if in_list else path
        place = model
        for folder in folders:
            place = place.setdefault(folder, {})
        if in_list:
            more = ', '.join(f'{literal(key)}: {literal(value)}' for key, value in values.items())
            place[name] = Code(f'[{{**head, {more}}} for head in _base_.{dotted(path[:-1])}]')
        else:
            place[name] = dict(values)
    return model


def source(record: Sequence[str], base: str, entries: Entries, schedule: Schedule) -> str:
    """Return the text of the config: a docstring of these lines, its base, its entries."""
    changed = dict(schedule.entries)
    loader = {'batch_size': changed.pop('batch_size'), **entries['train_dataloader']}
    entries = {**entries, 'train_dataloader': loader, **changed}
    pipelines = ('train_pipeline', 'test_pipeline', 'tta_pipeline')
    same = dict.fromkeys(pipelines, 'As in the base, adapted to these data.')
    comments = schedule.comments | same
    parts = [docstring(record), '\n', assignment('_base_', base)]
    parts += [assignment(name, entries[name], comments.get(name, '')) for name in entries]
    return ''.join(parts)
