"""What a measurement was made on."""

import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch


class Machine(NamedTuple):
    """The device by name, and what runs on it."""

    device: str
    threads: int  # of PyTorch on the CPU
    torch: str
    date: str  # YYYY-MM-DD
    load: float | None  # processes that were running, the mean of a minute; None where unknown
    command: str  # that measures it again

    def __str__(self) -> str:
        threads = f'{self.threads} thread{"s" if self.threads > 1 else ""}'
        return f'{self.device}, {threads}, torch {self.torch}, {self.date}'


def machine(device: str) -> Machine:
    """Look at this machine, whose ``device`` is ``'cpu'`` or a CUDA device, and at this command."""
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
