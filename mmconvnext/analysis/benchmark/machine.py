"""Describe the machine of a measurement."""

import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch


class Machine(NamedTuple):
    """The device, its software, and the command of a measurement."""

    device: str
    threads: int  # of PyTorch on the CPU
    torch: str
    date: str  # YYYY-MM-DD
    load: float | None  # mean number of running processes in the last minute; None if unknown
    command: str  # repeats the measurement

    def __str__(self) -> str:
        threads = f'{self.threads} thread{"s" if self.threads > 1 else ""}'
        return f'{self.device}, {threads}, torch {self.torch}, {self.date}'


def machine(device: str) -> Machine:
    """Describe this machine, with ``device`` ``'cpu'`` or a CUDA device, and this command."""
    name = _processor() if device == 'cpu' else torch.cuda.get_device_name(device)
    load = round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None
    command = shlex.join(['python', *sys.argv])
    date = time.strftime('%Y-%m-%d')
    return Machine(name, torch.get_num_threads(), torch.__version__, date, load, command)


def _processor() -> str:
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.is_file() else []
    names = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor() or 'unknown processor')
