"""Read mmengine's file formats as data only.

mmengine reads YAML (configs, ``_base_``) with a loader that builds Python objects, and pickle files
(``ann_file='x.pkl'``, saved predictions) with one that calls any function they name.
"""

import math
from typing import IO, Any

import yaml
from mmengine.fileio import JsonHandler, PickleHandler, YamlHandler, register_handler

from mmconvnext.config.safe_pickle import load_pickle
from mmconvnext.errors import UserError, first_line

PYTHON_TAG = 'tag:yaml.org,2002:python/'
_MOST_REPEATED = 10**6  # values in all aliases (`*name`) together


class FileContentError(UserError, ValueError):
    """A file contains something other than plain data in its format."""


class _Loader(yaml.SafeLoader):
    """Builds plain values, and tuples, which mmengine writes into YAML."""


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple:
    return tuple(loader.construct_sequence(node, deep=True))


def _refuse(loader: _Loader, suffix: str, node: yaml.Node) -> None:
    tag = ascii(f'!!python/{suffix}')[1:100].strip("'")  # a suffix may contain line breaks
    raise FileContentError(
        f'{_place(node.start_mark)}: expected plain values, found the tag {tag}, which builds a '
        'Python object; write its value as text, a number, a list or a mapping'
    )


_Loader.add_constructor(PYTHON_TAG + 'tuple', _tuple)
_Loader.add_multi_constructor(PYTHON_TAG, _refuse)


class SafeYamlHandler(YamlHandler):
    """Like mmengine's handler, but reads only plain values and tuples.

    Raises:
        FileContentError: the file has another Python tag, is not YAML, or its aliases repeat too
            many values.
    """

    def load_from_fileobj(self, file: IO[str], **options: Any) -> object:
        try:
            return _load_yaml(file, options.get('Loader', _Loader))
        except FileContentError:
            raise
        except Exception as error:  # an invalid date, for example, raises ValueError
            mark = getattr(error, 'problem_mark', None)
            place = _place(mark) if mark else _name(file, 'YAML')
            told = getattr(error, 'problem', None) or first_line(error)
            raise FileContentError(f'{place}: not readable ({told})') from error


def _load_yaml(file: IO[str], kind: type) -> object:
    loader = kind(file)
    try:
        document = loader.get_single_node()
        sizes: dict[int, float] = {}
        if _size(document, sizes) - len(sizes) > _MOST_REPEATED:
            raise FileContentError(
                f'{_name(file, "YAML")}: expected aliases that repeat at most {_MOST_REPEATED:,} '
                'values, got more; write the values out'
            )
        return None if document is None else loader.construct_document(document)
    finally:
        loader.dispose()


def _size(node: yaml.Node | None, sizes: dict[int, float]) -> float:
    """Return the number of values in a node; aliases count each time."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf  # for a node that contains itself
        inside = node.value if isinstance(node, yaml.CollectionNode) else ()
        if isinstance(node, yaml.MappingNode):
            inside = [one for pair in inside for one in pair]
        sizes[id(node)] = 1 + sum(_size(one, sizes) for one in inside)
    return sizes[id(node)]


class SafeJsonHandler(JsonHandler):
    """Like mmengine's handler, but with a one-line error.

    Raises:
        FileContentError: the file is not JSON.
    """

    def load_from_fileobj(self, file: IO[str]) -> object:
        try:
            return super().load_from_fileobj(file)
        except (ValueError, RecursionError) as error:
            raise FileContentError(
                f'{_name(file, "JSON")}: not readable ({first_line(error)})'
            ) from error


class SafePickleHandler(PickleHandler):
    """Like mmengine's handler, but reads only plain values, numpy arrays and torch tensors.

    Raises:
        FileContentError: the file contains anything else, or is not a pickle.
    """

    def load_from_fileobj(self, file: IO[bytes], **options: Any) -> object:
        try:
            return load_pickle(file, **options)
        except Exception as error:  # untrusted bytes may raise anything
            raise FileContentError(
                f'{_name(file, "pickle")}: not readable as plain data ({first_line(error)})'
            ) from error


def register() -> None:
    """Make mmengine read YAML, JSON and pickle files with these handlers."""
    register_handler(['yaml', 'yml'])(SafeYamlHandler)
    register_handler('json')(SafeJsonHandler)
    register_handler(['pickle', 'pkl'])(SafePickleHandler)


def _name(file: IO, kind: str) -> str:
    # For files that mmengine opens itself, only the content is known.
    return str(getattr(file, 'name', kind))


def _place(mark: yaml.Mark) -> str:
    name = 'YAML' if mark.name.startswith('<') else mark.name
    return f'{name}, line {mark.line + 1}'
