"""The class that a ``type`` in a config means."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec

import mmengine.registry
from mmengine.registry import Registry


class UnknownTypeError(Exception):
    """An installed package does not have the class; ``known`` are the names that it has."""

    def __init__(self, known: list[str]):
        super().__init__()
        self.known = known


def find_class(kind: object, registries: Sequence[str], scope: str) -> Callable | None:
    """Return the class or function that one of mmengine's registries would build.

    ``registries`` are names such as ``'MODELS'``; ``scope`` is the config's default scope. None
    means that the class cannot be known, because its package is not installed or does not load.

    Raises:
        UnknownTypeError: no registry has the class.
    """
    if callable(kind):
        return kind
    if not isinstance(kind, str):
        raise UnknownTypeError([])
    if not is_installed(scope) or ('.' in kind and not is_installed(kind.split('.')[0])):
        return None
    known: list[str] = []
    for name in registries:
        root = getattr(mmengine.registry, name)
        try:
            import_module(f'{scope}.registry')
            child = root._search_child(scope)
            registry = root if child is None else child  # an empty registry is False
            found = registry.get(kind)
        except RuntimeError:  # there is no such name
            found = None
        except Exception:  # a module of the package does not load: building it will say why
            return None
        if found is not None:
            return found
        known += _names(registry, kind)
    raise UnknownTypeError(known)


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _names(registry: Registry | None, kind: str) -> Iterator[str]:
    """Yield the names that could be meant, with the scope that ``kind`` has."""
    scope, dot, _ = kind.rpartition('.')
    if registry is not None and dot:
        found = registry.root._search_child(scope)
        yield from (f'{scope}.{name}' for name in (found.module_dict if found else ()))
        return
    while registry is not None:
        yield from registry.module_dict
        registry = registry.parent
