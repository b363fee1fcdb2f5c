"""Collect what is installed and what can be imported, without judging it."""

import contextlib
import importlib
import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from typing import NamedTuple

from mmconvnext.errors import first_line

# Import names, and the distributions that provide them.
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'torchvision': ('torchvision',),
    'cv2': (
        'opencv-python',
        'opencv-python-headless',
        'opencv-contrib-python',
        'opencv-contrib-python-headless',
    ),
}
# What is imported to see whether it can be: the part of it that imports what it needs; and what
# has to work before, since its failure would only be told again.
_PROBES = {
    'torch': ('torch', ()),
    'mmengine': ('mmengine.runner', ('torch',)),
    'mmconvnext': ('mmconvnext', ('torch', 'mmengine')),
    'mmcv': ('mmcv.ops', ('mmconvnext',)),
    'mmdet': ('mmdet.models', ('mmcv',)),
    'mmseg': ('mmseg.models', ('mmcv',)),
}
_VARIABLES = re.compile('MMCONVNEXT_|TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD$')


class Torch(NamedTuple):
    """torch's version, its CUDA version or '', the usable GPUs, and the device that is used."""

    version: str
    cuda: str
    gpus: int
    device: str


class Change(NamedTuple):
    """A :class:`~mmconvnext.compat.Patch` and its state in this process."""

    name: str
    state: str
    place: str
    why: str


class Facts(NamedTuple):
    """Facts about an environment.

    ``versions`` are of the installed distributions, by normalized name; ``python`` among them, and
    ``mmconvnext-editable`` where mmconvnext is installed in place.
    """

    versions: Mapping[str, str]
    broken: Mapping[str, str]  # import names that cannot be imported, and what that says
    torch: Torch | None = None  # None where it cannot be imported
    operators: Mapping[str, str] = {}  # what serves each of mmcv's; empty without mmcv
    variables: Mapping[str, str] = {}  # those of the environment that change what is done
    wanted_torch: str = ''  # that torchvision is made for, as a requirement
    changes: Sequence[Change] = ()  # what importing mmconvnext has changed in other packages


def collect(package_problem: str | None = None) -> Facts:
    """Return facts about this environment; output of imports goes to stderr.

    ``package_problem`` is the error of importing mmconvnext, if that failed.
    """
    versions, wanted_torch = _installed()
    broken = {'mmconvnext': package_problem} if package_problem else {}
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        working: set[str] = set()
        for name, (module, needed) in _PROBES.items():
            there = name not in PROVIDERS or providers(name, versions)
            if there and name not in broken and working.issuperset(needed):
                problem = _import_problem(module)
                broken |= {name: problem} if problem else {}
                working |= set() if problem else {name}
        broken |= _set_aside(versions) if 'torch' in working else {}
        torch = _torch() if 'torch' in working else None
        operators = _operators() if 'mmcv' in working else {}
        changes = _changes() if 'mmconvnext' in working else []
    variables = {key: value for key, value in os.environ.items() if _VARIABLES.match(key)}
    return Facts(versions, broken, torch, operators, variables, wanted_torch, changes)


def providers(name: str, versions: Mapping[str, str]) -> list[str]:
    """Return the installed distributions that provide an import name."""
    return [distribution for distribution in PROVIDERS[name] if distribution in versions]


def _installed() -> tuple[dict[str, str], str]:
    versions, wanted_torch = {'python': platform.python_version()}, ''
    for distribution in distributions():
        given = distribution.metadata['Name'] if distribution.metadata else None
        if not given:  # the rest of a broken uninstallation
            continue
        name = re.sub(r'[-_.]+', '-', given).lower()
        # The first on the path is the one that is imported.
        versions.setdefault(name, distribution.version)
        if name == 'torchvision':
            required = distribution.requires or ()
            wanted_torch = next((r for r in required if re.match(r'torch\b', r)), '')
        origin = distribution.read_text('direct_url.json') if name == 'mmconvnext' else None
        if origin and json.loads(origin).get('dir_info', {}).get('editable'):
            versions['mmconvnext-editable'] = distribution.version
    return versions, wanted_torch


def _import_problem(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # other people's modules fail in any way
        return first_line(error)
    return None


def _set_aside(versions: Mapping[str, str]) -> dict[str, str]:
    """Return the error of a torchvision that is broken."""
    if 'torchvision' not in versions:
        return {}
    compat = sys.modules.get('mmconvnext.compat')
    told = getattr(compat, 'set_aside', {}).get('torchvision') or _import_problem('torchvision')
    return {'torchvision': told} if told else {}


def _torch() -> Torch:
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        device = f'{gpus} × {torch.cuda.get_device_name(0)}'
    else:
        other = torch.accelerator.is_available() and torch.accelerator.current_accelerator()
        device = f'no CUDA GPU, running on {other or "cpu"}: float32, plain BN, gloo'
    return Torch(torch.__version__, torch.version.cuda or '', gpus, device)


def _operators() -> dict[str, str]:
    """Return the implementation that each of mmcv's operators uses."""
    from mmconvnext.ops import cuda, extension

    names = (name.removesuffix('_forward') for name in extension.OPERATORS)
    served = dict.fromkeys((name for name in names if name != 'roi_align_backward'), 'PyTorch')
    if extension.is_compiled():
        served = dict.fromkeys([*served, 'others'], 'compiled')
        if extension.is_roi_align_ours_on_cpu():
            served['roi_align'] = (
                'PyTorch on a CPU (MMCONVNEXT_ROI_ALIGN=compiled for mmcv), else compiled'
            )
        return served
    if cuda.is_available():
        for name in served.keys() - {'softnms'}:
            served[name] = 'torchvision on CUDA, PyTorch elsewhere'
    return {**served, 'others': 'none: they raise when called'}


def _changes() -> list[Change]:
    from mmconvnext.compat import PATCHES

    return [Change(patch.name, patch.state, patch.place, patch.why) for patch in PATCHES]
