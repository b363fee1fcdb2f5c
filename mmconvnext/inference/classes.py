"""Names, colours and ids of a model's classes."""

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmconvnext.config_types import wrapped_datasets
from mmconvnext.drawing.classes import Classes, class_colour
from mmconvnext.errors import UserError

# Heads of segmentors and detectors, including cascades; without auxiliary and proposal heads.
_HEAD = re.compile(r'(?:^|\.)(?:decode|bbox|mask)_head(?:\.\d+)?$')


def find_classes(config: Config, meta: Mapping, model: nn.Module, checkpoint: str) -> Classes:
    """Return the checkpoint's classes, else those of the config's dataset, else numbers.

    A class without a colour in the palette gets a generated colour. ``meta`` has the checkpoint's
    ``classes`` and ``palette``, if it has them; ``checkpoint`` is its name in messages. Raises
    UserError if the model's heads have another number of classes, or the number is unknown.
    """
    heads = count_classes(model)
    for source, given in ((checkpoint, meta), ("the config's dataset", dataset_meta(config))):
        if given.get('classes'):
            names = _names(given['classes'])
            if heads and set(heads.values()) != {len(names)}:
                counts = ', '.join(f'{k.removeprefix("roi_head.")} {n}' for k, n in heads.items())
                raise UserError(
                    f'classes: expected as many names as the model has classes ({counts}), got '
                    f'{len(names)} from {source} ({", ".join(names[:3])}'
                    f'{", …" if len(names) > 3 else ""}); use the config of the training'
                )
            break
    else:
        if not heads:
            raise UserError(
                f"classes: expected names in {checkpoint} or in the config's dataset (metainfo), "
                'or a head with num_classes; found none'
            )
        names, source, given = tuple(map(str, range(max(heads.values())))), 'numbers', {}
    palette = given.get('palette')
    # mmdet's palettes may also be words, such as 'random'.
    usable = palette if isinstance(palette, Sequence) and not isinstance(palette, str) else ()
    return Classes(names, tuple(class_colour(i, usable) for i in range(len(names))), source)


def dataset_meta(config: Config) -> dict:
    """Return the test dataset's metainfo: its class's METAINFO updated by the config's."""
    dataset = tested_dataset(config)
    kind = _dataset_class(config, dataset)
    return {**(getattr(kind, 'METAINFO', None) or {}), **(dataset.get('metainfo') or {})}


def zero_is_reduced(config: Config) -> bool:
    """Return whether label 0 means unlabelled, so that ids in files are the model's plus 1."""
    dataset = tested_dataset(config)
    given = dataset.get('reduce_zero_label')
    if given is not None:
        return bool(given)
    kind = _dataset_class(config, dataset)
    options = inspect.signature(kind.__init__).parameters if kind else {}
    return 'reduce_zero_label' in options and options['reduce_zero_label'].default is True


def tested_dataset(config: Config) -> Mapping:
    """Return the config's test dataset, without wrappers; an empty dict if there is none."""
    return next(wrapped_datasets((config.get('test_dataloader') or {}).get('dataset') or {}))


def count_classes(model: nn.Module) -> dict[str, int]:
    """Return the number of classes of each head that predicts them, by the head's name."""
    return {
        name: module.num_classes
        for name, module in model.named_modules()
        if _HEAD.search(name) and isinstance(getattr(module, 'num_classes', None), int)
    }


def _dataset_class(config: Config, dataset: Mapping) -> type[Any] | None:
    kind = dataset.get('type')
    if not isinstance(kind, str):
        return kind
    with (
        DefaultScope.overwrite_default_scope(config.get('default_scope')),
        DATASETS.switch_scope_and_registry(None) as registry,
    ):
        return registry.get(kind)


def _names(classes: Sequence[str] | str) -> tuple[str, ...]:
    if isinstance(classes, str):  # in mmengine: a file with one name per line
        classes = list_from_file(classes) if Path(classes).is_file() else [classes]
    return tuple(map(str, classes))
