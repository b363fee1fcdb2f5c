"""Variables of a config file, which have no effect once the file is read."""

from collections.abc import Iterator, Mapping


def entries(values: object, below: str = '') -> Iterator[tuple[str, object]]:
    """Yield the entries of dicts and lists, at any depth, with keys such as ``'model.type'``."""
    if isinstance(values, list | tuple):
        values = dict(enumerate(values))
    for name, value in values.items() if isinstance(values, Mapping) else ():
        yield f'{below}{name}', value
        yield from entries(value, f'{below}{name}.')


def is_used(config: Mapping, variable: str) -> bool:
    """Return whether an entry has a variable's value, and its name or a value that is a dict."""
    value = config[variable]
    others = {name: entry for name, entry in config.items() if name != variable}
    return any(
        found == value != {} and (isinstance(value, dict) or key.endswith(f'.{variable}'))
        for key, found in entries(others)
    )
