"""How a config names what it builds: by a name, with or without a scope, or as the class itself."""

from collections.abc import Mapping


def type_name(entry: Mapping) -> str:
    """The bare class name of an entry's ``type``, or ''."""
    kind = entry.get('type') or ''
    return (kind if isinstance(kind, str) else kind.__name__).rsplit('.', 1)[-1]
