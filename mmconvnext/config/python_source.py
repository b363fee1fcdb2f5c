"""Python source of values, laid out as in the configs here."""

import keyword
import textwrap
from collections.abc import Iterator

_WIDTH = 100  # characters a line


class Code(str):
    """An expression, written as it is."""


# In a dict, the key of an expression that is unpacked into it.
UNPACKED = '**'


def assignment(name: str, value: object, comment: str = '') -> str:
    """``name = value``, on one line where it fits, below its comment."""
    comments = [
        line
        for paragraph in comment.splitlines()
        for line in textwrap.wrap(paragraph, _WIDTH, initial_indent='# ', subsequent_indent='# ')
    ]
    lines = list(_lines(value, f'{name} = ', 0, ''))
    if len(lines) > 1 and _is_list_of_words(value):
        lines = _filled(name, value)
    return '\n'.join([*comments, *lines]) + '\n'


def _is_list_of_words(value: object) -> bool:
    """Whether it is a list of short things, which would take a line each."""
    return isinstance(value, list | tuple) and not any(
        isinstance(item, dict | list) for item in value
    )


def _filled(name: str, value: list | tuple) -> list[str]:
    opening, items, closing = _parts(value)
    lines = ['   ']
    for _, item in items:
        word = f' {_flat(item)},'
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append('   ')
        lines[-1] += word
    return [f'{name} = {opening}', *lines, f'{closing}  # fmt: skip']


def _lines(value: object, before: str, indent: int, after: str) -> Iterator[str]:
    margin = ' ' * indent
    flat = f'{margin}{before}{_flat(value)}{after}'
    parts = _parts(value)
    if parts is None or len(flat) <= _WIDTH or not parts[1]:
        yield flat
        return
    opening, items, closing = parts
    yield f'{margin}{before}{opening}'
    for name, item in items:
        yield from _lines(item, name, indent + 4, ',')
    yield f'{margin}{closing}{after}'


def _flat(value: object) -> str:
    if isinstance(value, Code):
        return str(value)
    parts = _parts(value)
    if parts is None:
        return repr(value)
    opening, items, closing = parts
    inner = ', '.join(f'{name}{_flat(item)}' for name, item in items)
    comma = ',' if isinstance(value, tuple) and len(items) == 1 else ''
    return f'{opening}{inner}{comma}{closing}'


def _parts(value: object) -> tuple[str, list[tuple[str, object]], str] | None:
    """What opens a container, its items with what stands before each, and what closes it."""
    if isinstance(value, dict):
        if all(_is_name(key) or key == UNPACKED for key in value):
            items = [('**' if key == UNPACKED else f'{key}=', value[key]) for key in value]
            return 'dict(', items, ')'
        return '{', [(f'{key!r}: ', value[key]) for key in value], '}'
    if isinstance(value, list):
        return '[', [('', item) for item in value], ']'
    if isinstance(value, tuple):
        return '(', [('', item) for item in value], ')'
    return None


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)
