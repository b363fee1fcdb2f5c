"""Names, colours and ids of the classes that a model knows."""

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

# Of segmentors and detectors, a cascade's included; auxiliary and proposal heads are others.
_HEAD = re.compile(r'(?:^|\.)(?:decode|bbox|mask)_head(?:\.\d+)?$')


def find_classes(config: Config, meta: Mapping, model: nn.Module, checkpoint: str) -> Classes:
    """The checkpoint's own classes, else the config's dataset's, else numbers.

    A class without a colour in the palette gets one of its own. ``meta`` has ``classes`` and
    ``palette`` of the checkpoint, as far as it has them; messages call it ``checkpoint``. Raises
    UserError where the model's heads are for another number of classes, or nothing tells how many.
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
                    f'{", …" if len(names) > 3 else ""}); take the config that the checkpoint was '
                    'trained with'
                )
            break
    else:
        if not heads:
            raise UserError(
                f"classes: expected their names in {checkpoint} or in the config's dataset "
                '(metainfo), or a head that tells their number; got none'
            )
        names, source, given = tuple(map(str, range(max(heads.values())))), 'numbers', {}
    palette = given.get('palette')
    # mmdet also has palettes that are words, such as 'random'.
    usable = palette if isinstance(palette, Sequence) and not isinstance(palette, str) else ()
    return Classes(names, tuple(class_colour(i, usable) for i in range(len(names))), source)


def dataset_meta(config: Config) -> dict:
    """``metainfo`` of the config's test dataset, over what its class says of itself."""
    dataset = tested_dataset(config)
    kind = _dataset_class(config, dataset)
    return {**(getattr(kind, 'METAINFO', None) or {}), **(dataset.get('metainfo') or {})}


def zero_is_reduced(config: Config) -> bool:
    """Whether the annotations' label 0 is none, so that their ids are the model's plus one."""
    dataset = tested_dataset(config)
    given = dataset.get('reduce_zero_label')
    if given is not None:
        return bool(given)
    kind = _dataset_class(config, dataset)
    options = inspect.signature(kind.__init__).parameters if kind else {}
    return 'reduce_zero_label' in options and options['reduce_zero_label'].default is True


def tested_dataset(config: Config) -> Mapping:
    """The config's test dataset, out of its wrappers; an empty one where there is none."""
    return next(wrapped_datasets((config.get('test_dataloader') or {}).get('dataset') or {}))


def count_classes(model: nn.Module) -> dict[str, int]:
    """Classes of each head of a segmentor or detector that predicts them, by its name."""
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
    if isinstance(classes, str):  # mmengine: a file with one in each line
        classes = list_from_file(classes) if Path(classes).is_file() else [classes]
    return tuple(map(str, classes))
