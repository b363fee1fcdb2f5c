"""What this environment has, and what would fail in it."""

import importlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch
from mmengine.device import get_device

from mmconvnext import compat
from mmconvnext.errors import first_line
from mmconvnext.ops import cuda, extension
from mmconvnext.version import __version__

# Import name, then the distributions that may provide it; the first one installed counts.
_PACKAGES = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'torchvision': ('torchvision',),
}
_REMEDIES = {
    'mmdet': 'detection needs it: pip install "mmconvnext[openmmlab]"',
    'mmseg': 'segmentation needs it: pip install "mmconvnext[openmmlab]"',
    'mmcv': 'everything but the bare backbone needs it: pip install "mmconvnext[openmmlab]"',
    'torchvision': 'optional; install the build made for this torch, or none',
}


def describe() -> Iterator[str]:
    """Lines for a person: versions, operators, and what would fail with its remedy."""
    yield f'mmconvnext {__version__}, Python {platform.python_version()}'
    yield f'torch {torch.__version__}, {_device()}'
    failures = []
    for name, distributions in _PACKAGES.items():
        yield f'{name}: {_distribution(distributions) or "not installed"}'
        problem = _import_problem(name)
        if problem and not (name == 'torchvision' and not _distribution(distributions)):
            failures.append(f'{name}: {problem} ({_REMEDIES.get(name, "reinstall it")})')
    if not _import_problem('mmcv'):
        operators, problem = _operators()
        yield from operators
        failures += [problem] if problem else []
    yield from (f'would fail: {failure}' for failure in failures)
    if not failures:
        yield 'nothing here would fail'


def _device() -> str:
    if torch.cuda.is_available():
        return f'{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}'
    return f'no CUDA GPU, running on {get_device()}: float32, plain BN, gloo'


def _distribution(names: tuple[str, ...]) -> str | None:
    for name in names:
        try:
            return f'{name} {version(name)}'
        except PackageNotFoundError:
            continue
    return None


def _import_problem(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except (ImportError, AttributeError, RuntimeError, OSError, AssertionError) as error:
        return compat.set_aside.get(name) or first_line(error)
    return None


def _operators() -> tuple[list[str], str | None]:
    """Which implementation serves each of mmcv's operators, and what fails for it."""
    names = [name for name in extension.OPERATORS if name != 'roi_align_backward']
    served = {name.removesuffix('_forward'): _served_by(name) for name in names}
    if not extension.is_compiled():
        others = 'none: they raise when called'
        return [
            f'mmcv.ops.{name}: {by}' for name, by in (served | {'others': others}).items()
        ], None
    problem = _import_problem(extension.NAME)
    if problem:
        return ['mmcv.ops: compiled'], f'mmcv.ops: {problem} (build mmcv for this torch)'
    lines = [f'mmcv.ops.{name}: compiled' for name in served if name != 'roi_align']
    kept = extension.is_roi_align_ours_on_cpu()
    by = 'PyTorch on a CPU (MMCONVNEXT_ROI_ALIGN=compiled for mmcv), else compiled'
    lines += [f'mmcv.ops.roi_align: {by if kept else "compiled"}', 'mmcv.ops.others: compiled']
    return lines, None


def _served_by(operator: str) -> str:
    """Of an operator that mmcv lacks here."""
    on_cuda = cuda.is_available() and operator != 'softnms'
    return 'torchvision on CUDA, PyTorch elsewhere' if on_cuda else 'PyTorch'
