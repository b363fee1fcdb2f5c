"""The wheel that ``pip wheel .`` makes, from a copy: building leaves files beside its sources."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def copy_source(folder: Path) -> Path:
    """Copy what git tracks, or would, into a new folder, but for the tests."""
    listed = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for name in listed:
        source, target = ROOT / name, folder / name
        if source.is_file() and not name.startswith('tests/'):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return folder


def build_wheel(folder: Path) -> Path:
    """Build the wheel in a folder, with this environment's setuptools."""
    options = ['--no-deps', '--no-build-isolation', '--quiet', '--wheel-dir', folder]
    source = copy_source(folder / 'source')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, source], check=True)
    (path,) = folder.glob('*.whl')
    return path
