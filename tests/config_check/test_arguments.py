from inspect import Parameter

import pytest

from mmconvnext.config_check.arguments import arguments_of, unfit


class Base:
    def __init__(self, depth: int, width: int = 1) -> None: ...


class Passing(Base):
    def __init__(self, name: str, **kwargs: object) -> None:
        self.extra = kwargs.pop('extra', None)
        super().__init__(**kwargs)


class Ignoring(Base):
    def __init__(self, name: str, **kwargs: object) -> None:
        super().__init__(3)


class Other:
    def __init__(self, **kwargs: object) -> None:
        self.kwargs = kwargs


class FromSeveral(Base, Other):
    def __init__(self, **kwargs: object) -> None:
        Other.__init__(self, **kwargs)


class WithoutConstructor: ...


@pytest.mark.parametrize(
    ('target', 'named', 'takes_others'),
    [
        (Base, {'depth', 'width'}, False),
        (Passing, {'name', 'extra', 'depth', 'width'}, False),
        (Ignoring, {'name'}, True),
        (Other, set(), True),
        (FromSeveral, {'depth', 'width'}, False),
        (WithoutConstructor, set(), False),
        (WithoutConstructor().__eq__, set(), True),  # written in C
    ],
)
def test_kwargs_go_to_the_next_class(target, named: set[str], takes_others: bool) -> None:
    assert {*arguments_of(target).named} == named
    assert arguments_of(target).any_other is takes_others


@pytest.mark.parametrize(
    ('annotation', 'default', 'value', 'words'),
    [
        (int, 1, 'two', 'a whole number'),
        (int, 1, 2.5, 'a whole number'),
        (int, 1, 1e5, ''),
        (int, 1, None, ''),
        (float, 1.0, 1, ''),
        (bool, True, 'no', 'True or False'),
        (str, 'a', 3, 'a string'),
        (int | None, None, {}, 'a whole number'),
        (int | str, 1, [], 'a whole number or a string'),
        (tuple[int, int], (1, 1), 'a', 'a list'),
        (dict, None, [{}], ''),
        (Base, None, 'a', ''),
        (int, 'auto', 'all', ''),  # the annotation contradicts the default
        (Parameter.empty, 0.1, 'a', 'a number'),
        (Parameter.empty, False, 'no', 'True or False'),
        (Parameter.empty, 'a', 3, 'a string'),
        ('bool', False, 'no', 'True or False'),
    ],
)
def test_types(annotation, default, value, words: str) -> None:
    parameter = Parameter('name', Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    assert unfit(parameter, value) == words
