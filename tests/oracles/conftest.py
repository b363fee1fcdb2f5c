"""The rivals are on the path only in a process of their own.

PYTHONPATH=.rivals pytest tests/oracles
"""

import importlib.util
from pathlib import Path

import pytest
import torch

# torchvision's wheels on the index are CUDA builds, whose operators do not register beside a CPU
# torch; its Python part asks for the schemas of two of them when it is imported.
_LIBRARY = torch.library.Library('torchvision', 'FRAGMENT')
for _schema in (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
):
    _LIBRARY.define(_schema)


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
