import pytest
from mmconvnext.config.python_source import UNPACKED, Code, assignment


def evaluate(text: str, **names: object) -> object:
    exec(text, names)
    return names['value']


@pytest.mark.parametrize(
    'value',
    [
        {'a': 1, 'b': [1.5, None, True], 'c': ('x',), 'd': ()},
        {'class': 1, 'a b': {}},
        tuple(f'it\'s "{place}" \\ ü\n' for place in range(40)),
        [(place, place) for place in range(40)],
        dict(one=[dict(type='A', long='x' * 60), dict(type='B', long='y' * 60)], two=(1,) * 60),
    ],
)
def test_says_the_same(value: object) -> None:
    text = assignment('value', value)
    assert evaluate(text) == value
    assert max(map(len, text.splitlines())) <= 100


def test_expressions_and_unpacked_dicts() -> None:
    text = assignment('value', {UNPACKED: Code('other'), 'a': Code('other')})
    assert text == 'value = dict(**other, a=other)\n'
    assert evaluate(text, other={'b': 2}) == {'b': 2, 'a': {'b': 2}}


def test_comments_stand_above_and_fit() -> None:
    lines = assignment('value', 1, 'word ' * 50 + '\nsecond').splitlines()
    assert lines[-2:] == ['# second', 'value = 1']
    assert all(line.startswith('# word') and len(line) <= 100 for line in lines[:-2])
