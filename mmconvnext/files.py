"""Write files completely or not at all, and make the folders that options name."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmconvnext.errors import UserError


@contextmanager
def whole_file(path: Path, refusal: str = 'could not be written') -> Iterator[Path]:
    """Yield a temporary path with the same suffix, and move it to ``path`` at the end.

    Missing folders are made. After an error no partial file is left, and an older file is kept.

    Args:
        path: File to write or replace.
        refusal: Message for a path that cannot be written.

    Raises:
        UserError: the file could not be written.
    """
    partial = path.with_name(f'.{path.stem}.{os.getpid()}.partial{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f'{path}: {refusal} ({error.strerror or error})') from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write plain values as indented JSON, completely or not at all."""
    with whole_file(path, 'expected a file to write') as partial:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        partial.write_text(text + '\n', encoding='utf-8')


def make_folder(option: str, folder: Path) -> None:
    """Make the folder that an option names, before work begins.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b'.')  # fails without permission, and on a full disk
    except OSError as error:
        raise UserError(
            f'{option}: {folder}: expected a folder to write to ({error.strerror or error}); '
            'choose another, or free space'
        ) from error
