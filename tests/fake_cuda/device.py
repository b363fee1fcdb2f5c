"""Builds and loads the device. Imports no torch, which must come after :func:`load`."""

import ctypes
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).parent / 'device.cpp'


def compiler() -> str | None:
    """A C++ compiler, if there is one."""
    return shutil.which('g++') or shutil.which('clang++')


def _torch() -> Path:
    return Path(find_spec('torch').submodule_search_locations[0])


def build(folder: Path) -> Path:
    """Compile the device against the torch that is installed."""
    include, library = _torch() / 'include', folder / 'libdevice.so'
    places = [f'-I{include}', f'-I{include}/torch/csrc/api/include', f'-L{_torch() / "lib"}']
    options = ['-O0', '-std=c++20', '-shared', '-fPIC', *places, '-lc10', '-ltorch_cpu']
    subprocess.run([compiler(), SOURCE, *options, '-o', library], check=True)
    return library


def load(library: Path) -> None:
    """Load the device before torch, and have torch believe in it."""
    for name in ('libgomp*.so*', 'libc10.so', 'libtorch_cpu.so'):
        for path in sorted((_torch() / 'lib').glob(name)):
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import torch

    torch.cuda.is_available = lambda: True
    torch.cuda.is_initialized = lambda: True
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.current_device = lambda: 0
    torch.cuda._lazy_init = lambda: None
    torch.cuda.mem_get_info = lambda device: (8 << 30, 80 << 30)
    torch.cuda.memory_reserved = torch.cuda.memory_allocated = lambda device: 0
