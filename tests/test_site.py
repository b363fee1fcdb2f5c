"""What the site has to have; that its links and names lead somewhere, `make lint` checks."""

import re
import tomllib
from importlib import import_module
from types import ModuleType

import pytest
from mmengine.registry import Registry

import mmconvnext
from mmconvnext import registry
from tests.conftest import ROOT

REFERENCE = '\n'.join(page.read_text() for page in (ROOT / 'docs/api').glob('*.rst'))
DIRECTIVES = re.findall(r'^\.\. auto(\w+):: (\S+)$', REFERENCE, re.MULTILINE)
REGISTRIES = [
    one
    for one in vars(registry).values()
    if isinstance(one, Registry) and one.scope == 'mmconvnext'
]


def documented() -> list[object]:
    """What the API reference has: of a module what it defines and describes."""
    found: list[object] = []
    for kind, name in DIRECTIVES:
        if kind == 'module':
            module = import_module(name)
            found += [one for one in vars(module).values() if _is_described(one, module)]
        else:
            module, _, attribute = name.rpartition('.')
            found.append(getattr(import_module(module), attribute))
    return found


def _is_described(one: object, module: ModuleType) -> bool:
    return getattr(one, '__module__', None) == module.__name__ and bool(one.__doc__)


def test_the_reference_has_every_public_name() -> None:
    public = [getattr(mmconvnext, name) for name in mmconvnext.__all__ if name != '__version__']
    missing = [one for one in public if one not in documented()]
    assert public
    assert not missing


@pytest.mark.parametrize('names', REGISTRIES, ids=lambda names: names.name)
def test_the_reference_has_everything_that_a_config_can_name(names: Registry) -> None:
    names.import_from_location()
    ours = [one for one in names.module_dict.values() if one.__module__.startswith('mmconvnext.')]
    missing = [one for one in ours if one not in documented()]
    assert ours
    assert not missing


def test_the_map_has_every_room_in_the_order_of_imports() -> None:
    page = (ROOT / 'docs/how_it_is_built.md').read_text()
    section = page.partition('## The rooms')[2].partition('\n## ')[0]
    contracts = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['importlinter']
    (layers,) = (one['layers'] for one in contracts['contracts'] if one['type'] == 'layers')
    rows = re.findall(r'^\| (\d+) \| `(\w+)` \|', section, re.MULTILINE)
    assert len(rows) == sum(len(layer.split(' | ')) for layer in layers)
    for number, layer in enumerate(layers, start=1):
        assert {room for place, room in rows if int(place) == number} == set(layer.split(' | '))
