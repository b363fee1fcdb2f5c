"""Read Python text that assigns literals, without running it."""

import ast
import warnings
from collections.abc import Iterator

from mmconvnext.errors import first_line

_LONGEST = 1_000_000  # characters; Python's parser needs half a gigabyte at most for them
_DEEPEST = 40  # nested containers
_BITS = 64  # of an integer
_FLOATS = ('inf', '-inf', 'nan')


class LiteralError(ValueError):
    """The text contains something other than literals; a one-line message without a remedy."""


def parse(text: str) -> ast.Module:
    """Return the syntax tree of an untrusted text.

    Raises:
        LiteralError: the text is not Python, or too deeply nested.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about invalid escapes
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LiteralError(f'not Python ({first_line(error)})') from error


def read_literals(text: str) -> dict[str, object]:
    """Return the values that a text assigns: strings, numbers, None, lists, tuples and dicts.

    A dict may be ``{…}``, ``dict(a=…)`` or ``dict({…})``, as mmengine writes it, with strings as
    keys; infinity is ``float('inf')``.

    Raises:
        LiteralError: the text contains anything else, or is too large.
    """
    if len(text) > _LONGEST:
        raise LiteralError(f'expected at most {_LONGEST:,} characters, got {len(text):,}')
    return dict(_assignment(statement) for statement in parse(text).body)


def _assignment(statement: ast.stmt) -> tuple[str, object]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, _value(value, 0)
    raise _refusal(statement, '`name = value`')


def _value(node: ast.expr, depth: int) -> object:
    if depth > _DEEPEST:
        raise LiteralError(f'line {node.lineno}: expected at most {_DEEPEST} nested containers')
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return _number(node, node.value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return _number(node, -number)
        case ast.List(elts=items):
            return [_value(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, depth + 1) for item in items)
        case ast.Dict() | ast.Call(func=ast.Name(id='dict')):
            return {_key(node, key): _value(item, depth + 1) for key, item in _pairs(node)}
        case ast.Call(
            func=ast.Name(id='float'), args=[ast.Constant(value=str() as text)], keywords=[]
        ) if text in _FLOATS:
            return float(text)
    raise _refusal(node, 'literals')


def _number(node: ast.expr, value: object) -> object:
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise LiteralError(f'line {node.lineno}: expected integers of at most {_BITS} bits')
    return value


def _pairs(node: ast.expr) -> Iterator[tuple[object, ast.expr]]:
    match node:
        case ast.Call(args=[], keywords=keywords):
            yield from ((keyword.arg, keyword.value) for keyword in keywords)
        case ast.Call(args=[ast.Dict() as inner], keywords=[]):
            yield from _pairs(inner)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values):
                yield key.value if isinstance(key, ast.Constant) else None, value
        case _:
            raise _refusal(node, 'dict(name=value)')


def _key(node: ast.expr, key: object) -> str:
    if not isinstance(key, str) or key.startswith('__'):
        raise _refusal(node, 'names as keys')
    return key


def _refusal(node: ast.expr | ast.stmt, expected: str) -> LiteralError:
    kind = type(node).__name__
    return LiteralError(f'line {node.lineno}: expected {expected}, got something else ({kind})')
