"""Values of a config as containers, strings and numbers, which every text format holds."""

from typing import Any

_CONTAINERS = (dict, list, tuple, set, frozenset)
_ATOMS: tuple[type, ...] = (bool, int, float, complex, str, bytes)


def plain(value: object) -> Any:
    """Return a copy made of plain containers, with sorted dict keys, and of :func:`plain_item`."""
    value = plain_item(value)
    if isinstance(value, dict):
        pairs = sorted(dict.items(value), key=lambda pair: str(pair[0]))
        return {plain(key): plain(item) for key, item in pairs}
    for kind in _CONTAINERS[1:]:
        if isinstance(value, kind):
            return kind(plain(item) for item in value)
    return value


def plain_item(value: object) -> object:
    """Return a value that source code can hold; a container is returned as it is.

    Values of numpy and torch become numbers and lists. A class or a function becomes its dotted
    name, by which mmengine builds it again. Anything else becomes its ``str``.
    """
    if value is None or isinstance(value, (*_CONTAINERS, range)):
        return value
    for kind in _ATOMS:
        if isinstance(value, kind):
            # A subclass too: numpy.float64, an Enum (whose `str` is its name).
            return str.__str__(value) if kind is str else kind(value)
    if hasattr(value, 'tolist'):
        listed = value.tolist()
        return str(value) if type(listed) is type(value) else plain_item(listed)
    if hasattr(value, '__qualname__') and hasattr(value, '__module__'):
        return f'{value.__module__}.{value.__qualname__}'
    return str(value)
