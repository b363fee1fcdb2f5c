"""Check that every head of a model has as many classes as the data."""

import inspect
from collections.abc import Iterator, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings

# Heads that predict the data's classes; an rpn_head only separates objects and background.
CLASS_HEADS = ('decode_head', 'auxiliary_head', 'bbox_head', 'mask_head')
Path = tuple[str | int, ...]


def class_heads(model: object, path: Path = ()) -> Iterator[tuple[Path, dict]]:
    """Yield the model's heads with classes, also those in lists, with their paths in the config."""
    for name, value in model.items() if isinstance(model, dict) else ():
        if name in CLASS_HEADS:
            for place, head in enumerate(value) if isinstance(value, list | tuple) else ():
                yield (*path, name, place), head
            if isinstance(value, dict):
                yield (*path, name), value
        elif isinstance(value, dict):
            yield from class_heads(value, (*path, name))


def dotted(path: Path) -> str:
    """Return a path in the form of ``--cfg-options``."""
    return '.'.join(map(str, ('model', *path)))


def check_heads(config: Config, datasets: Sequence[ConfiguredDataset], findings: Findings) -> None:
    """Compare ``num_classes`` of every head with the classes of the datasets."""
    if not datasets:
        return
    trained = next((d for d in datasets if d.split == 'train'), datasets[0])
    for dataset in datasets:
        if dataset.classes != trained.classes:
            findings.of_split(dataset.name).error(
                'other classes',
                f'expected the {len(trained.classes)} classes of {trained.name}, in the same '
                f'order, got {len(dataset.classes)} others; set the same metainfo for both',
            )
    expected, findings = len(trained.classes), findings.of_split('model')
    heads = list(class_heads(config.get('model') or {}))
    if not heads:
        findings.note('no heads', 'no head has num_classes to compare')
    for path, head in heads:
        given = head.get('num_classes', _default(head, config.get('default_scope')))
        if expected and given != expected:
            findings.error(
                'num_classes',
                f'{dotted(path)}.num_classes: expected {expected}, the classes of '
                f'{trained.name}, got {given}'
                + ('' if 'num_classes' in head else ' (the default of its type)')
                + f"; set it to {expected}, or set the dataset's metainfo",
            )
        _check_class_weights(path, head, expected, findings)


def _check_class_weights(path: Path, head: dict, expected: int, findings: Findings) -> None:
    if not {'decode_head', 'auxiliary_head'} & {*path}:
        return  # whether a detector's weights include the background depends on its loss
    losses = head.get('loss_decode') or []
    for loss in losses if isinstance(losses, list | tuple) else [losses]:
        weights = loss.get('class_weight')
        if isinstance(weights, list | tuple) and len(weights) != expected:
            findings.error(
                'class_weight',
                f'{dotted(path)}.loss_decode.class_weight: expected {expected} weights, one per '
                f'class, got {len(weights)}',
            )


def _default(head: dict, scope: str | None) -> int | None:
    """Return the default ``num_classes`` of the head's type, or None."""
    with DefaultScope.overwrite_default_scope(scope):
        kind = MODELS.get(head['type']) if 'type' in head else None
    for base in getattr(kind, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get('num_classes')
        if parameter:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None
