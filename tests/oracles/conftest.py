"""The rivals are on the path only in a process of their own.

PYTHONPATH=.rivals pytest tests/oracles
"""

import importlib.util
from pathlib import Path

import pytest

import benchmarks  # noqa: F401  (before mmconvnext: it sees to torchvision)


def pytest_collection_modifyitems(items) -> None:
    missing = [name for name in ('timm', 'torchvision', 'transformers') if not _is_there(name)]
    if missing:
        reason = f'{", ".join(missing)} not on the path: make test runs these with .rivals on it'
        for item in items:
            # A run of more than this folder gives the hook all of its tests.
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
