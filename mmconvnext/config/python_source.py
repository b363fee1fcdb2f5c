"""Write values as Python source, formatted like the configs here, with no template in it.

mmengine substitutes templates (``{{ fileDirname }}``, ``{{$VARIABLE:default}}``,
``{{ _base_.name }}``) in a config's text before Python reads it, even in strings and comments.
Strings, keys, comments and docstrings written here contain no literal brace and no invisible
character.
"""

import keyword
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from mmconvnext.config.plain_values import plain_item

_WIDTH = 100  # characters a line
_DOCSTRING_WIDTH = _WIDTH - len('"""')

# Top-level names that mmengine interprets or drops.
_OF_MMENGINE = ('_base_', '_deprecation_')
# Functions that the source calls; entries with these names must come last.
_CALLED = ('complex', 'dict', 'float', 'frozenset', 'globals', 'range', 'set')


class Code(str):
    """An expression, written unchanged."""


# The key, in a dict, of an expression that is unpacked into it.
UNPACKED = object()


def module(entries: Mapping[str, object]) -> str:
    """Return the source of a config with these entries.

    mmengine reads exactly these entries, except names that it drops itself (``__x``, ``_base_``).
    """
    kept = {
        name: value
        for name, value in entries.items()
        if not str(name).startswith('__') and name not in _OF_MMENGINE
    }
    named = [name for name in kept if _is_name(name) and name not in _CALLED]
    text = ''.join(assignment(name, kept[name]) for name in named)
    if others := {name: value for name, value in kept.items() if name not in named}:
        text += '\n'.join(_lines(others, 'globals().update(', 0, ')')) + '\n'
    return text


def assignment(name: str, value: object, comment: str = '') -> str:
    """Return ``name = value``, on one line if it fits, below its comment."""
    comments = []
    for paragraph in map(_harmless, comment.splitlines()):
        comments += textwrap.wrap(paragraph, _WIDTH, initial_indent='# ', subsequent_indent='# ')
    lines = list(_lines(value, f'{name} = ', 0, ''))
    parts = _parts(value)
    if parts and len(lines) > 1 and isinstance(value, list | tuple):
        of_words = not any(isinstance(item, dict | list | set | frozenset) for item in value)
        lines = _filled(name, *parts) if of_words else lines  # not one line for each word
    return '\n'.join([*comments, *lines]) + '\n'


def docstring(lines: Sequence[str]) -> str:
    """Return a docstring of these lines; lines that begin with a space are not wrapped."""
    wrapped = []
    for line in lines:
        wrapped += [line] if line.startswith(' ') else textwrap.wrap(line, _DOCSTRING_WIDTH) or ['']
    text = '\n'.join(_string(line)[1:-1].replace('"""', '\\"\\"\\"') for line in wrapped)
    return f'"""{text}\n"""\n'


def literal(value: object) -> str:
    """Return the source of a value, on one line."""
    if isinstance(value, Code):
        return str(value)
    value = plain_item(value)
    parts = _parts(value)
    if parts is None:
        return _atom(value)
    opening, items, closing = parts
    inner = ', '.join(f'{name}{literal(item)}' for name, item in items)
    comma = ',' if isinstance(value, tuple) and len(items) == 1 else ''
    return f'{opening}{inner}{comma}{closing}'


def _harmless(comment: str) -> str:
    """Return a comment's text without braces, which cannot be escaped in comments."""
    visible = ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode() for c in comment
    )
    return re.sub(r'\{(?=\{)', '{ ', visible)


def _filled(name: str, opening: str, items: list[tuple[str, object]], closing: str) -> list[str]:
    lines = ['   ']
    for _, item in items:
        word = f' {literal(item)},'
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append('   ')
        lines[-1] += word
    return [f'{name} = {opening}', *lines, f'{closing}  # fmt: skip']


def _lines(value: object, before: str, indent: int, after: str) -> Iterator[str]:
    value = value if isinstance(value, Code) else plain_item(value)
    margin = ' ' * indent
    flat = f'{margin}{before}{literal(value)}{after}'
    parts = _parts(value)
    if parts is None or len(flat) <= _WIDTH or not parts[1]:
        yield flat
        return
    opening, items, closing = parts
    yield f'{margin}{before}{opening}'
    for name, item in items:
        yield from _lines(item, name, indent + 4, ',')
    yield f'{margin}{closing}{after}'


def _parts(value: object) -> tuple[str, list[tuple[str, object]], str] | None:
    """Return a container's opening, its items with their prefixes, and its closing."""
    if isinstance(value, dict):
        if all(key is UNPACKED or _is_name(key) for key in value):
            opening, name, closing = 'dict(', lambda key: f'{key}=', ')'
        else:
            opening, name, closing = '{', lambda key: f'{literal(key)}: ', '}'
        return opening, [('**' if k is UNPACKED else name(k), value[k]) for k in value], closing
    if isinstance(value, list | tuple):
        opening, closing = '[]' if isinstance(value, list) else '()'
        return opening, [('', item) for item in value], closing
    if isinstance(value, set | frozenset):
        opening = 'frozenset(' if isinstance(value, frozenset) else 'set('
        items = [('', item) for item in sorted(value, key=literal)]
        return (f'{opening}[', items, '])') if items else (opening, items, ')')
    return None


def _atom(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, complex):
        return f'complex({_atom(value.real)}, {_atom(value.imag)})'
    return _string(value) if isinstance(value, str | bytes) else repr(value)


def _string(value: str | bytes) -> str:
    # repr escapes lone surrogates, all line breaks and marks that change the text direction.
    return repr(value).replace('{', r'\x7b').replace('}', r'\x7d')


def _is_name(key: object) -> bool:
    # Python normalises identifiers by NFKC, which would change names beyond ASCII.
    if not isinstance(key, str) or keyword.iskeyword(key):
        return False
    return key.isascii() and key.isidentifier() and key != '__debug__'
