import ast

import pytest
from hypothesis import given, settings

from mmconvnext.config.python_source import (
    UNPACKED,
    Code,
    assignment,
    docstring,
    literal,
    module,
)
from tests.config.foreign import ANY_TEXT, NAMES, values


def evaluate(text: str, **names: object) -> object:
    exec(text, names)
    return names['value']


@pytest.mark.parametrize(
    'value',
    [
        {'a': 1, 'b': [1.5, None, True], 'c': ('x',), 'd': ()},
        {'class': 1, 'a b': {}},
        {'__debug__': 1, '**': {'ﬁ': 2, 'fi': 3}},
        tuple(f'it\'s "{place}" \\ ü\n' for place in range(40)),
        [(place, place) for place in range(40)],
        dict(one=[dict(type='A', long='x' * 60), dict(type='B', long='y' * 60)], two=(1,) * 60),
        [{f'name {place}' * 3 for place in range(9)}, frozenset(range(99)), set()],
    ],
)
def test_says_the_same(value: object) -> None:
    text = assignment('value', value)
    assert evaluate(text) == value
    assert max(map(len, text.splitlines())) <= 100


@settings(max_examples=100, deadline=None)
@given(values())
def test_says_the_same_of_anything_without_a_brace_in_a_string(value: object) -> None:
    text = assignment('value', value)
    assert evaluate(text) == value
    assert '{{' not in text
    strings = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
    braces = sum(s.count('{') for s in strings if isinstance(s, str))
    assert text.count(r'\x7b') >= braces


def test_expressions_and_unpacked_dicts() -> None:
    text = assignment('value', {UNPACKED: Code('other'), 'a': Code('other')})
    assert text == 'value = dict(**other, a=other)\n'
    assert evaluate(text, other={'b': 2}) == {'b': 2, 'a': {'b': 2}}
    assert literal({UNPACKED: Code('other'), 'a b': 1}) == "{**other, 'a b': 1}"


def test_comments_stand_above_and_fit() -> None:
    lines = assignment('value', 1, 'word ' * 50 + '\nsecond').splitlines()
    assert lines[-2:] == ['# second', 'value = 1']
    assert all(line.startswith('# word') and len(line) <= 100 for line in lines[:-2])


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT)
def test_comments_hold_no_template_and_no_line_break(text: str) -> None:
    written = assignment('value', 1, f'{text}{{{{$A:1}}}}{text}')
    *comments, last = written.removesuffix('\n').split('\n')
    assert last == 'value = 1'
    assert all(line.startswith('# ') and line.isprintable() for line in comments)
    assert '{{' not in written
    assert evaluate(written) == 1


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT)
def test_docstrings_say_what_was_given_on_indented_lines(text: str) -> None:
    written = docstring([text, f'    command {text}', text])
    assert '{' not in written
    read = ast.get_docstring(ast.parse(written), clean=False)
    assert f'\n    command {text}\n' in read
    assert len(ast.parse(written).body) == 1


def test_docstrings_are_wrapped_and_stay_readable() -> None:
    written = docstring(["It's " + 'word ' * 40, '', '    a "quoted" command' + ' x' * 60])
    assert written.startswith('"""It\'s word')
    assert '    a "quoted" command x x' in written
    assert all(len(line) <= 100 for line in written.splitlines()[:-2])


def test_names_that_are_no_variables_and_functions_that_the_source_calls() -> None:
    entries = {'dict': {'a': 1}, 'float': 2.0, 'a b': 3, 'class': 4, '{{x': 5, 'plain': {'a': 1}}
    names: dict = {}
    text = module({**entries, '__builtins__': 1, '_base_': 'x.py'})
    exec(text, names)
    assert {name: names[name] for name in entries} == entries
    assert '_base_' not in text
    assert text.startswith('plain = dict(a=1)\nglobals().update(')


@pytest.mark.parametrize('name', NAMES)
def test_a_literal_is_one_line_of_visible_characters(name: str) -> None:
    assert literal(name).isprintable()
    assert ast.literal_eval(literal(name)) == name
