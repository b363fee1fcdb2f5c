"""Read the config in an untrusted file as data, as far as a predictor needs it."""

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from mmengine.config import ConfigDict

from mmconvnext.config.allowed_types import ALLOWED, SCOPES
from mmconvnext.config.literal_source import LiteralError, read_literals
from mmconvnext.errors import CheckpointError

# Entries from which a model and its test pipelines are built.
_BUILT = {'model': dict, 'data_preprocessor': dict, 'tta_model': dict, 'tta_pipeline': list}
# Options about files and how to read them. `class_weight` may also be numbers.
# fmt: off
_OF_FILES = frozenset([
    'init_cfg', 'checkpoint', 'pretrained', 'backend_args', 'file_client_args',
])
# fmt: on
_NUMBERS_OR_FILE = ('class_weight',)
# Such as `bilinear`, `regnetx_3.2gf`; other strings are paths, URLs or module names.
_WORD = re.compile(r'(?:\w[\w +-]*(?:\.\d\w*)?)?', re.ASCII)
_NAME = re.compile(r'(?!_)[a-z]\w*|_scope_', re.ASCII | re.IGNORECASE)


def read_literal_config(text: str, source: str) -> ConfigDict:
    """Return the entries that a predictor needs from a config's text, without running it.

    The entries kept are ``model``, ``data_preprocessor``, ``tta_model``, ``tta_pipeline``,
    ``default_scope``, and from ``test_dataloader.dataset`` the ``pipeline``,
    ``reduce_zero_label``, and the classes and palette of ``metainfo``. Pretrained weights, options
    of file access, and strings that are not plain words (paths, URLs) are dropped. The text must
    assign literals, like ``Config.pretty_text``. ``source`` is the file's name in messages.

    Raises:
        CheckpointError: the text contains anything but literals, has no model, or has a ``type``
            that is not on the list of allowed types.
    """
    try:
        return ConfigDict(_needed(read_literals(text)))
    except LiteralError as error:
        raise CheckpointError(
            f'{source}: its config cannot be used as data: {error}; give a config file that you '
            'trust'
        ) from error


def _needed(entries: Mapping[str, object]) -> dict[str, object]:
    if not isinstance(entries.get('model'), dict):
        raise LiteralError('expected a model, got none')
    kept = {
        name: _allowed(entries[name], name)
        for name, kind in _BUILT.items()
        if isinstance(entries.get(name), kind)
    }
    scope = entries.get('default_scope')
    if scope is not None:
        kept['default_scope'] = _scope(scope, 'default_scope')
    if dataset := _tested_dataset(entries):
        kept['test_dataloader'] = {'dataset': _described(dataset)}
    return kept


def _tested_dataset(entries: Mapping[str, object]) -> dict:
    dataset = _dict(_dict(entries.get('test_dataloader')).get('dataset'))
    while isinstance(dataset.get('dataset'), dict):  # inside a wrapper
        dataset = dataset['dataset']
    return dataset


def _described(dataset: Mapping[str, object]) -> dict[str, object]:
    """Return a dataset's pipeline and classes, without its type and its files."""
    kept: dict[str, Any] = {}
    if isinstance(dataset.get('pipeline'), list):
        kept['pipeline'] = _allowed(dataset['pipeline'], 'test_dataloader.dataset.pipeline')
    if isinstance(dataset.get('reduce_zero_label'), bool):
        kept['reduce_zero_label'] = dataset['reduce_zero_label']
    metainfo = _dict(dataset.get('metainfo'))
    classes, palette = metainfo.get('classes'), metainfo.get('palette')
    kept['metainfo'] = {}
    # A string would be the name of a file with classes.
    if _all(classes, str):
        kept['metainfo']['classes'] = classes
    if _all(palette, (list, tuple)) and all(_all(colour, int) for colour in palette):
        kept['metainfo']['palette'] = palette
    return kept


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _all(values: object, kind: type | tuple[type, ...]) -> TypeGuard[list | tuple]:
    return isinstance(values, list | tuple) and all(isinstance(value, kind) for value in values)


def _allowed(value: object, place: str) -> object:
    """Check a value with everything in it, and return it without file names."""
    if isinstance(value, dict):
        for name in value:
            if not _NAME.fullmatch(name):
                raise _refusal(place, 'names of options', name)
        return {
            name: _entry(name, item, f'{place}.{name}')
            for name, item in value.items()
            if not _names_file(name, item)
        }
    if isinstance(value, list | tuple):
        return type(value)(
            _allowed(item, f'{place}[{index}]')
            for index, item in enumerate(value)
            if not _names_file('', item)
        )
    return value


def _entry(name: str, value: object, place: str) -> object:
    if name == 'type':
        return _type(value, place)
    return _scope(value, place) if name == '_scope_' else _allowed(value, place)


def _names_file(name: str, value: object) -> bool:
    if name in _OF_FILES:
        return True
    if not isinstance(value, str) or name in ('type', '_scope_'):
        return False
    return name in _NUMBERS_OR_FILE or not _WORD.fullmatch(value)


def _type(value: Any, place: str) -> str:
    *scopes, name = value.split('.') if isinstance(value, str) else ['']
    if name not in ALLOWED or scopes not in ([], *([scope] for scope in SCOPES)):
        raise _refusal(place, 'a type on the list of allowed ones', value)
    return value


def _scope(value: object, place: str) -> str:
    if value not in SCOPES:
        raise _refusal(place, f'one of {", ".join(SCOPES)}', value)
    return value


def _refusal(place: str, expected: str, value: object) -> LiteralError:
    # Untrusted text is cut, and shown without line breaks and non-ASCII characters.
    return LiteralError(f'{place[-200:]}: expected {expected}, got {ascii(value)[:100]}')
