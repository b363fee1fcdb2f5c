"""Whether every head of a model has as many classes as the data."""

import inspect
from collections.abc import Iterator, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings

# Heads that tell the classes of the data apart; an rpn_head tells objects from background only.
CLASS_HEADS = ('decode_head', 'auxiliary_head', 'bbox_head', 'mask_head')
Path = tuple[str | int, ...]


def class_heads(model: object, path: Path = ()) -> Iterator[tuple[Path, dict]]:
    """The heads of a model that have classes, each of a list, with their places in the model."""
    for name, value in model.items() if isinstance(model, dict) else ():
        if name in CLASS_HEADS:
            for place, head in enumerate(value) if isinstance(value, list | tuple) else ():
                yield (*path, name, place), head
            if isinstance(value, dict):
                yield (*path, name), value
        elif isinstance(value, dict):
            yield from class_heads(value, (*path, name))


def dotted(path: Path) -> str:
    """How ``--cfg-options`` names a place in the model."""
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
                f'expected the {len(trained.classes)} classes of {trained.name}, in their order, '
                f'got {len(dataset.classes)} others; give both the same metainfo',
            )
    expected, findings = len(trained.classes), findings.of_split('model')
    heads = list(class_heads(config.get('model') or {}))
    if not heads:
        findings.note('no heads', 'no head whose num_classes could be compared')
    for path, head in heads:
        given = head.get('num_classes', _default(head, config.get('default_scope')))
        if expected and given != expected:
            findings.error(
                'num_classes',
                f'{dotted(path)}.num_classes: expected {expected}, the classes of '
                f'{trained.name}, got {given}'
                + ('' if 'num_classes' in head else ' (the default of its type)')
                + f'; set it to {expected}, or give the dataset its metainfo',
            )
        _check_class_weights(path, head, expected, findings)


def _check_class_weights(path: Path, head: dict, expected: int, findings: Findings) -> None:
    if not {'decode_head', 'auxiliary_head'} & {*path}:
        return  # those of detectors count the background too, or do not, as their losses like
    losses = head.get('loss_decode') or []
    for loss in losses if isinstance(losses, list | tuple) else [losses]:
        weights = loss.get('class_weight')
        if isinstance(weights, list | tuple) and len(weights) != expected:
            findings.error(
                'class_weight',
                f'{dotted(path)}.loss_decode.class_weight: expected {expected} weights, one a '
                f'class, got {len(weights)}',
            )


def _default(head: dict, scope: str | None) -> int | None:
    """``num_classes`` where the config leaves it to the head's type."""
    with DefaultScope.overwrite_default_scope(scope):
        kind = MODELS.get(head['type']) if 'type' in head else None
    for base in getattr(kind, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get('num_classes')
        if parameter:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None
