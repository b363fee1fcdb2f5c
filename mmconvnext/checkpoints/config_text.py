"""Remove paths and other traces of the machine from a config's text.

The text is parsed as Python and never run: a checkpoint's config may come from anybody.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import PureWindowsPath

from mmconvnext.config.literal_source import LiteralError, parse
from mmconvnext.config.python_source import literal

# Entries about one run: its folder, its starting point and how it was launched.
# fmt: off
_OF_THE_RUN = frozenset([
    'experiment_name', 'gpu_ids', 'launcher', 'load_from', 'randomness', 'resume', 'resume_from',
    'seed', 'work_dir',
])
# fmt: on
# `/home/…`, `~/…`, `C:\…`, `\\server\…`, `file:///…`.
_ABSOLUTE = re.compile(r'/[^/]|~|[A-Za-z]:[\\/]|\\\\|file:')


def without_machine(text: str) -> str | None:
    """Return a config's text without the entries of one run, absolute paths cut to the last part.

    The rest stays unchanged, except that line breaks become those of Unix. Class names are never
    changed.

    Returns:
        The text, or None if it is not Python.
    """
    try:
        tree = parse(text)
    except LiteralError:
        return None
    text = text.replace('\r\n', '\n').replace('\r', '\n')  # the lines that Python counts
    # ast counts columns in bytes.
    lines = text.encode().split(b'\n')
    changes = sorted(_changes(tree), key=lambda c: (c[0].lineno, c[0].col_offset), reverse=True)
    for node, replacement in changes:
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        kept = before + replacement.encode() + after
        lines[first : last + 1] = [kept] if kept.strip() else []
    return b'\n'.join(lines).decode()


def _changes(tree: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Yield nodes and their replacements; no node is inside another."""
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else ()
        if any(isinstance(target, ast.Name) and target.id in _OF_THE_RUN for target in targets):
            yield statement, ''
            continue
        for node, text in _strings(statement):
            if _ABSOLUTE.match(text):
                yield node, literal(PureWindowsPath(text).name)


def _strings(statement: ast.stmt) -> Iterator[tuple[ast.Constant, str]]:
    """Yield strings in a statement, except class names, keys and parts of other strings."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        match waiting.pop():
            case ast.Constant(value=str() as text) as node:
                yield node, text
            case (
                ast.JoinedStr()
                | ast.keyword(arg='classes', value=ast.List() | ast.Tuple())
                | ast.Assign(targets=[ast.Name(id='classes')], value=ast.List() | ast.Tuple())
            ):
                pass
            case ast.Dict(values=values):  # a key is a name, whatever it looks like
                waiting += values
            case node:
                waiting += ast.iter_child_nodes(node)
