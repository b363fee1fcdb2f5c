"""A tool in a process of its own, as a person runs it, but for the seconds that importing takes.

The processes are forked from one that has imported torch, mmengine and mmconvnext and done nothing
else. A tool finds its own arguments, environment, folder, streams and exit code as ever.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = ['torch', 'mmengine.runner', 'mmconvnext']

_processes = multiprocessing.get_context('forkserver')
_processes.set_forkserver_preload(IMPORTED)


def run_script(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess:
    """Run ``python SCRIPT ARGUMENTS…`` and wait for it.

    Args:
        command: The script's path, from ``cwd``, and its arguments.
        cwd: Folder to run in.
        environment: All environment variables.
        timeout: Seconds.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ('stdout', 'stderr')]
        arguments = ([*command], str(cwd), dict(environment), [str(s) for s in streams])
        process = _processes.Process(target=_run_here, args=arguments)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        stdout, stderr = (stream.read_text() for stream in streams)
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _run_here(
    command: list[str], cwd: str, environment: dict[str, str], streams: list[str]
) -> None:
    for descriptor, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = command
    sys.path[:] = [str(Path(command[0]).parent.absolute()), *_installed()]
    runpy.run_path(command[0], run_name='__main__')


def _installed() -> list[str]:
    """PYTHONPATH and what is installed, without what pytest has put before them."""
    given = [folder for folder in os.environ.get('PYTHONPATH', '').split(os.pathsep) if folder]
    return given + [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
