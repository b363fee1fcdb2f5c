"""Convert values of a config to containers, strings and numbers, for every text format."""

from typing import Any

_CONTAINERS = (dict, list, tuple, set, frozenset)
_ATOMS: tuple[type, ...] = (bool, int, float, complex, str, bytes)


def plain(value: object) -> Any:
    """Return a copy with plain containers, sorted dict keys and items from :func:`plain_item`."""
    value = plain_item(value)
    if isinstance(value, dict):
        pairs = sorted(dict.items(value), key=lambda pair: str(pair[0]))
        return {plain(key): plain(item) for key, item in pairs}
    for kind in _CONTAINERS[1:]:
        if isinstance(value, kind):
            return kind(plain(item) for item in value)
    return value


def plain_item(value: object) -> object:
    """Return a value that can be written as source code; containers are returned unchanged.

    Values of numpy and torch become numbers and lists. A class or function becomes its dotted name,
    from which mmengine finds it again. Any other value becomes its ``str``.
    """
    if value is None or isinstance(value, (*_CONTAINERS, range)):
        return value
    for kind in _ATOMS:
        if isinstance(value, kind):
            # Including subclasses: numpy.float64, an Enum (whose `str` is its name).
            return str.__str__(value) if kind is str else kind(value)
    if hasattr(value, 'tolist'):
        listed = value.tolist()
        return str(value) if type(listed) is type(value) else plain_item(listed)
    if hasattr(value, '__qualname__') and hasattr(value, '__module__'):
        return f'{value.__module__}.{value.__qualname__}'
    return str(value)
