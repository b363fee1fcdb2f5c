"""Values of a config as the containers, strings and numbers that every text format holds."""

from pathlib import PurePath

# Written as they are; their subclasses (numpy.float64, an Enum) are written as these.
ATOMS = (bool, int, float, complex, str, bytes)
CONTAINERS = (dict, list, tuple, set, frozenset)


def plain(value: object) -> object:
    """Return a copy in plain containers, dict keys sorted, and :func:`plain_item` for the rest."""
    value = plain_item(value)
    if isinstance(value, dict):
        pairs = sorted(dict.items(value), key=lambda pair: str(pair[0]))
        return {plain(key): plain(item) for key, item in pairs}
    for kind in CONTAINERS[1:]:
        if isinstance(value, kind):
            return kind(plain(item) for item in value)
    return value


def plain_item(value: object) -> object:
    """Return a value that source code or YAML can hold; containers are not looked into.

    numpy's and torch's values become numbers and lists. A class or a function becomes its dotted
    name, by which mmengine builds it again. Anything else becomes its ``str``.
    """
    if value is None or value is ... or isinstance(value, (*CONTAINERS, range)):
        return value
    for kind in ATOMS:
        if isinstance(value, kind):
            # Not kind(value): the str of an Enum is its name.
            return value if type(value) is kind else _of_kind(kind, value)
    if hasattr(value, 'tolist'):
        listed = value.tolist()
        return str(value) if type(listed) is type(value) else plain_item(listed)
    if hasattr(value, '__qualname__') and hasattr(value, '__module__'):
        return f'{value.__module__}.{value.__qualname__}'
    return value.as_posix() if isinstance(value, PurePath) else str(value)


def _of_kind(kind: type, value: object) -> object:
    if kind is str:
        return str.__str__(value) if type(value) is not str else value
    return kind(value)
