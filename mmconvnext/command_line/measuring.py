"""Shared parts of the measuring tools: option checks before the work, and progress bars."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from mmconvnext.errors import UserError, first_line
from mmconvnext.files import make_folder


def require_device(device: str) -> None:
    """Raise a UserError unless ``device`` is ``'cpu'`` or an existing CUDA device."""
    if device != 'cpu' and not device.startswith('cuda'):
        raise UserError(f'--device: expected cpu or cuda, got {device}')
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'--device: expected cpu or an existing GPU, got {device} ({first_line(error)})'
        ) from error


def require_at_least(least: int, values: Mapping[str, int | None]) -> None:
    """Raise a UserError if an option, given by its name, is below ``least``."""
    for name, value in values.items():
        if value is not None and value < least:
            raise UserError(f'--{name}: expected {least} or more, got {value}')


def make_folders(out: Path, json: Path | None) -> None:
    """Make the folder ``--out`` and the folder of the file ``--json``, or raise a UserError."""
    if json and json.is_dir():
        raise UserError(f'--json: expected a file to write, got the folder {json}')
    for option, folder in (('--out', out), ('--json', json.parent if json else out)):
        make_folder(option, folder)


@contextmanager
def watch(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar on stderr for ``total`` steps; yield what to call after each step."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda what: progress.update(bar, advance=1, description=f'{title}: {what}')
