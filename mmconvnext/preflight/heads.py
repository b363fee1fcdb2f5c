"""Check a model's heads: the classes of the data, losses that can learn, and masks if evaluated.

:func:`check_heads` compares with the classes; :func:`check_outputs` needs only the config.
"""

import inspect
from collections.abc import Iterator, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.config_types import nested_dicts, type_name
from mmconvnext.data.checks import evaluators
from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings

# Heads that predict the data's classes; an rpn_head only separates objects and background.
CLASS_HEADS = ('decode_head', 'auxiliary_head', 'bbox_head', 'mask_head')
Path = tuple[str | int, ...]


def class_heads(model: object, path: Path = ()) -> Iterator[tuple[Path, dict]]:
    """Yield the model's heads with classes, also those in lists, with their paths in the config."""
    for name, value in model.items() if isinstance(model, dict) else ():
        if name in CLASS_HEADS:
            for index, head in enumerate(value) if isinstance(value, list | tuple) else ():
                yield (*path, name, index), head
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
        _check_class_weights(path, head, head.get('out_channels') or expected, findings)


def _check_class_weights(path: Path, head: dict, expected: int, findings: Findings) -> None:
    if not {'decode_head', 'auxiliary_head'} & {*path}:
        return  # whether a detector's weights include the background depends on its loss
    for loss in _losses(head):
        weights, name = loss.get('class_weight'), f'{dotted(path)}.loss_decode.class_weight'
        if not isinstance(weights, list | tuple):
            continue
        if len(weights) != expected:
            findings.error(
                'class_weight',
                f'{name}: expected {expected} weights, one per output channel, got {len(weights)}; '
                'add or remove weights',
            )
        elif loss.get('use_sigmoid') and type_name(loss) == 'CrossEntropyLoss' and expected > 1:
            findings.error(
                'class_weight',
                f'{name}: expected none with use_sigmoid=True, got {len(weights)} weights, which '
                "mmseg applies to an image's columns; remove one of the two",
            )


def _losses(head: dict) -> Sequence[dict]:
    losses = head.get('loss_decode') or [dict(type='CrossEntropyLoss')]
    return losses if isinstance(losses, list | tuple) else [losses]


def check_outputs(config: Config, findings: Findings) -> None:
    """Check that the heads of a segmentor can learn, and that masks are predicted if evaluated."""
    findings = findings.of_split('model')
    model = config.get('model') or {}
    for path, head in class_heads(model):
        if not {'decode_head', 'auxiliary_head'} & {*path}:
            continue
        classes = head.get('num_classes', _default(head, config.get('default_scope')))
        if classes == 1:
            findings.error(
                'one class',
                f'{dotted(path)}.num_classes: expected 2 or more, got 1, for which the loss is 0 '
                'and every pixel the same; name the background too, as the class of label 0, with '
                'reduce_zero_label=False',
            )
        elif head.get('out_channels') == 1 and any(
            type_name(loss) == 'CrossEntropyLoss' and not loss.get('use_sigmoid')
            for loss in _losses(head)
        ):
            findings.error(
                'one channel',
                f'{dotted(path)}.loss_decode: expected use_sigmoid=True for out_channels=1, got a '
                'softmax, whose loss over one channel is 0; set it, or out_channels to '
                f'{classes}',
            )
    for split in ('val', 'test'):
        for evaluator in evaluators(config, split):
            if 'segm' in (evaluator.get('metric') or ()) and not predicts_masks(model):
                findings.error(
                    'segm',
                    f"{split}_evaluator.metric: expected 'bbox' for a model without a mask head, "
                    f'got {evaluator["metric"]}; set it to bbox',
                )


def predicts_masks(model: object) -> bool:
    """Return whether a model may predict masks: it has a head for them, or no known head."""
    names, types = set(), set()
    for config in nested_dicts(model):
        names |= {name for name, value in config.items() if value}
        types |= {type_name(config)} if config.get('type') else set()
    known = 'bbox_head' in names
    return not known or 'mask_head' in names or any('Ins' in kind for kind in types)


def _default(head: dict, scope: str | None) -> int | None:
    """Return the default ``num_classes`` of the head's type, or None."""
    with DefaultScope.overwrite_default_scope(scope):
        kind = MODELS.get(head['type']) if 'type' in head else None
    for base in getattr(kind, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get('num_classes')
        if parameter:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None
