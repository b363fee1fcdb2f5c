"""The arguments that a class takes, and the types of their values."""

import collections.abc
import dis
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from inspect import Parameter
from typing import Any, NamedTuple

_WORDS = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'a string',
    dict: 'a dict',
    list: 'a list',
}
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
# Their annotations or defaults contradict the values that their code takes.
_WRONG = ('loss_scale', 'eta_min_ratio', 'scale_factor', 'patch_pad')
_SEQUENCES = (list, tuple, set, collections.abc.Sequence, collections.abc.Iterable)


class Arguments(NamedTuple):
    """The named arguments of a class or function; ``any_other`` if it may take more of them."""

    named: dict[str, Parameter]
    any_other: bool


@cache
def arguments_of(target: Any) -> Arguments:
    """Return what a class or function takes.

    A class with ``**kwargs`` passes them to the next class of its method resolution order, or to
    any of the next if it has several bases, and may take from them what its code names. If no
    class without ``**kwargs`` follows, anything is taken.
    """
    named: dict[str, Parameter] = {}
    has_several_bases = is_closed = False
    functions = [*_functions(target)]
    if not functions:  # neither does the class have a constructor of its own
        return Arguments({}, any('__new__' in vars(base) for base in target.__mro__[:-1]))
    for function, bases in functions:
        try:
            parameters = dict(inspect.signature(function).parameters)
            code = inspect.unwrap(function).__code__
        except (AttributeError, TypeError, ValueError):  # written in C
            return Arguments(named, True)
        plain = {k: p for k, p in parameters.items() if p.kind in _NAMED and k != 'self'}
        named = plain | named
        rest = [name for name, p in parameters.items() if p.kind is Parameter.VAR_KEYWORD]
        if rest and not _reads(code, rest[0]):  # what the function ignores may be anything
            return Arguments(named, True)
        if rest:
            has_several_bases |= len(bases) > 1
            for name in filter(_is_name, code.co_consts):  # such as kwargs.pop('name')
                named.setdefault(name, Parameter(name, Parameter.KEYWORD_ONLY))
        else:
            is_closed = True
            if not has_several_bases:
                break
    return Arguments(named, not is_closed)


def _functions(target: Callable) -> Iterator[tuple[Callable, tuple[type, ...]]]:
    """Yield a function, or the constructors that building a class may run, each with its bases."""
    if not inspect.isclass(target):
        yield target, ()
        return
    for base in target.__mro__[:-1]:
        if '__init__' in vars(base):
            yield vars(base)['__init__'], base.__bases__


def _reads(code: types.CodeType, variable: str) -> bool:
    loads = (step.argval for step in dis.get_instructions(code) if step.opname.startswith('LOAD'))
    return any(variable in (load if isinstance(load, tuple) else (load,)) for load in loads)


def _is_name(constant: object) -> bool:
    return isinstance(constant, str) and constant.isidentifier()


def unfit(parameter: Parameter, value: object) -> str:
    """Return what the argument takes, in words, if the value is of a type that it cannot take.

    Many annotations of OpenMMLab are too narrow, so that some values that contradict them pass:
    None, and values like the default.
    """
    taken, default = _types(parameter.annotation), parameter.default
    if parameter.name in _WRONG or value is None or type(value) is type(default):
        return ''
    if taken is None and type(default) in (int, float):
        # Without an annotation only a string is certainly wrong.
        return _WORDS[float] if isinstance(value, str) else ''
    if taken is None and type(default) in (bool, str):
        wrong = str if isinstance(default, bool) else bool | int | float
        return _WORDS[type(default)] if isinstance(value, wrong) else ''
    if taken is None:
        return ''
    kinds = {next((kind for kind in _WORDS if isinstance(value, kind)), object)}
    if isinstance(value, tuple | list):
        kinds = {list, dict, float}  # many take one or several
    elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        kinds = {int, float, bool, list}  # 1e5 iterations; one number or several
    elif isinstance(value, float):
        kinds = {float, list}
    if kinds & taken or object in kinds:
        return ''
    return ' or '.join(words for one, words in _WORDS.items() if one in taken)


def _types(annotation: Any) -> set[type] | None:
    """Return the types among those of ``_WORDS`` that an annotation allows; None: any."""
    if isinstance(annotation, str):  # in a file with postponed evaluation of annotations
        annotation = next((kind for kind in _WORDS if kind.__name__ == annotation), annotation)
    if inspect.isclass(annotation) and annotation in _WORDS:
        return {annotation}
    if annotation in (None, type(None)):
        return set()
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        parts = [_types(part) for part in typing.get_args(annotation)]
        return None if None in parts else set().union(*filter(None, parts))
    kind = origin or annotation
    if kind in _SEQUENCES:
        return {list}
    return {dict} if inspect.isclass(kind) and issubclass(kind, collections.abc.Mapping) else None
