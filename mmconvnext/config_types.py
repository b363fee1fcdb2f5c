"""Helpers for entries of any config: types, wrapped datasets, nested pipeline steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def type_name(entry: Mapping) -> str:
    """Return the class name of an entry's ``type`` without its scope, or ''."""
    kind = entry.get('type') or ''
    return (kind if isinstance(kind, str) else kind.__name__).rsplit('.', 1)[-1]


def wrapped_datasets(dataset: Mapping) -> Iterator[Any]:
    """Yield the datasets that read files, from inside wrappers such as RepeatDataset."""
    inner = [*filter(None, [dataset.get('dataset'), *(dataset.get('datasets') or [])])]
    for one in inner:
        yield from wrapped_datasets(one)
    if not inner:
        yield dataset


def pipeline_steps(pipeline: Sequence | Mapping) -> Iterator[Any]:
    """Yield the transforms of a pipeline in order, including nested ones, as in RandomChoice."""
    for step in [pipeline] if isinstance(pipeline, Mapping) else pipeline:
        if isinstance(step, Mapping):
            yield step
            yield from pipeline_steps(step.get('transforms') or [])
        elif isinstance(step, list | tuple):
            yield from pipeline_steps(step)


def nested_dicts(value: object) -> Iterator[dict]:
    """Yield a dict and all dicts in it, also in lists."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from nested_dicts(item)
