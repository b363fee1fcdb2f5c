"""Compare a config with what would be built from it."""

import inspect
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner

from mmconvnext.config_check import places
from mmconvnext.config_check.arguments import Arguments, arguments_of, unfit
from mmconvnext.config_check.free_entries import free_entry
from mmconvnext.config_check.names import did_you_mean, is_almost
from mmconvnext.config_check.registered import UnknownTypeError, find_class, is_installed
from mmconvnext.config_check.values import impossible
from mmconvnext.config_check.variables import is_used
from mmconvnext.errors import UserError

_SHOWN = 8  # names in a line


class ConfigError(UserError):
    """A config has mistakes; the message has a line for each."""

    everywhere = True  # all processes read the same config


def require_correct(config: Mapping, parts: Sequence[str] = ()) -> None:
    """Check a config, or only some of its entries, without building anything.

    Raises:
        ConfigError: there are mistakes; the message names them all.
    """
    if mistakes := find_mistakes(config, parts):
        raise ConfigError('\nerror: '.join(mistakes))


def find_mistakes(config: Mapping, parts: Sequence[str] = ()) -> list[str]:
    """Return a line for each mistake in a config: the key, what is taken there, the nearest name.

    ``parts`` are the entries to check; default: all. Nothing is built. Modules in
    ``custom_imports`` must have been imported before. Classes of packages that are not installed
    are not checked.
    """
    lines = _Walk(config).mistakes
    found = [line for line in lines if not parts or re.split('[.:]', line)[0] in parts]
    # test_dataloader is usually a copy of val_dataloader.
    copies = {f'test_{line[4:]}' for line in found if line.startswith('val_')}
    return [line for line in dict.fromkeys(found) if line not in copies]


class _Walk:
    """Visits all entries that a run reads."""

    def __init__(self, config: Mapping):
        self.mistakes: list[str] = []
        scope = config.get('default_scope') or 'mmengine'
        self._scope = scope if isinstance(scope, str) else ''  # then no class is known
        # Those on which the keys of free entries depend.
        wrapper = config.get('optim_wrapper')
        named = wrapper.get('constructor') if isinstance(wrapper, Mapping) else None
        self._classes = {str(named or 'DefaultOptimWrapperConstructor').rpartition('.')[2]}
        read = arguments_of(Runner).named
        if not is_installed(self._scope) and is_almost(self._scope, MODULE2PACKAGE):
            hint = did_you_mean(self._scope, MODULE2PACKAGE)
            self.mistakes.append(f'default_scope: expected a package, got {self._scope!r}{hint}')
        for key, value in config.items():
            if key in places.READ:
                self._value(key, value, read.get(key), None)
            elif key in places.FORMER and not is_used(config, key):
                hint = f'; did you mean {places.FORMER[key]}?'
                self.mistakes.append(f'{key}: expected an entry that a run reads{hint}')
            elif key not in places.VARIABLES and is_almost(key, places.READ):
                hint = did_you_mean(key, places.READ)
                self.mistakes.append(f'{key}: expected an entry that a run reads{hint}')
        for trio in places.TOGETHER:
            given = [key for key in trio if config.get(key) is not None]
            for key in [key for key in trio if key not in given][:1] if given else ():
                also = ' and '.join(given)
                self.mistakes.append(f'{key}: expected a value next to {also}, got none')

    def _value(
        self, key: str, value: object, argument: inspect.Parameter | None, owner: Any
    ) -> None:
        words = impossible(key, value, owner) or (unfit(argument, value) if argument else '')
        if not words and places.needs_type(key) and isinstance(value, int | float | str):
            words = 'a dict with type'
        if words:
            self.mistakes.append(f'{key}: expected {words}, got {reprlib.repr(value)}')
            return
        if key in places.NAMED_CLASSES:
            self._find(key, value, places.registries_at(key))
        self._visit(key, value, owner)

    def _visit(self, key: str, value: object, owner: Any) -> None:
        """Visit what is below a key; ``owner`` is the class that gets it."""
        if isinstance(value, list | tuple):
            for place, item in enumerate(value):
                self._value(f'{key}.{place}', item, None, owner)
        elif isinstance(value, Mapping):
            before, self._scope = self._scope, value.get('_scope_') or self._scope
            self._entry(key, value, owner)
            self._scope = before

    def _entry(self, key: str, entry: Mapping, owner: Any) -> None:
        target = self._target(key, entry)
        if key == 'model' and inspect.isclass(target):
            self._classes |= {base.__name__ for base in target.__mro__}
        names, takes_others = (
            self._arguments(key, entry, target) if target else free_entry(key, self._classes)
        )
        if names or not takes_others:
            before = [*places.taken_before(key), *getattr(owner, 'LOADING_OPTIONS', ())]
            known = [*names, *before]
            for name in map(str, entry):
                if name not in known and (not takes_others or is_almost(name, known)):
                    self._unknown(f'{key}.{name}', known)
        match entry.get('begin', 0), entry.get('end'):
            case int(begin), int(end) if key.startswith('param_scheduler') and begin >= end:
                self.mistakes.append(f'{key}.end: expected more than begin, {begin}, got {end}')
        if getattr(target, '__name__', '') in places.UNVISITED:
            return
        for name, value in entry.items():
            self._value(f'{key}.{name}', value, names.get(name), target or owner)

    def _target(self, key: str, entry: Mapping) -> Callable | None:
        """Return the class or function that gets an entry; None if it is free or not known."""
        kind = places.kind_at(key, entry)
        if kind is None:
            if 'type' not in entry and places.needs_type(key):
                self._without_type(key, entry)
            return None
        return self._find(f'{key}.type', kind, places.registries_at(key))

    def _without_type(self, key: str, entry: Mapping) -> None:
        hook = key.removeprefix('default_hooks.')
        if hook != key and hook not in places.DEFAULT_HOOKS:
            self._unknown(key, places.DEFAULT_HOOKS)
        else:
            slip = ''.join(f', but {name}' for name in entry if is_almost(name, ['type']))
            self.mistakes.append(f'{key}.type: expected the name of a class, got none{slip}')

    def _arguments(self, key: str, entry: Mapping, target: Callable) -> Arguments:
        """Return what a class takes, with what it forwards to another class."""
        named, any_other = arguments_of(target)
        inner = None
        for name, registry in places.FORWARDING.items():
            if name in named:
                kind = entry.get(name, named[name].default)
                inner = self._find(f'{key}.{name}', kind, (registry,))
        if any(base.__name__ == 'CheckpointHook' for base in getattr(target, '__mro__', ())):
            inner = Runner.save_checkpoint
        if inner is not None and any_other:
            forwarded = arguments_of(inner)
            return Arguments(named | forwarded.named, forwarded.any_other)
        return Arguments(named, any_other)

    def _find(self, key: str, kind: Any, registries: Sequence[str]) -> Callable | None:
        if kind is None:
            return None
        try:
            return find_class(kind, registries, self._scope)
        except UnknownTypeError as error:
            # Elsewhere it may be a name that the class around it knows, as Albu does.
            kind = str(kind)
            if places.is_registered(key) or is_almost(kind, error.known):
                hint = did_you_mean(kind, error.known)
                self.mistakes.append(f'{key}: expected a registered class, got {kind!r}{hint}')
            return None

    def _unknown(self, key: str, known: Iterable[str]) -> None:
        known = [name for name in known if name not in places.GIVEN]
        taken = ', '.join(known[:_SHOWN]) + ', …' * (len(known) > _SHOWN) or 'no option'
        if hint := did_you_mean(key.rpartition('.')[2], known):
            self.mistakes.append(f'{key}: expected another name{hint} Taken: {taken}')
        else:
            self.mistakes.append(f'{key}: expected {taken}')
