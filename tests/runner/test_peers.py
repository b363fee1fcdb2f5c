"""A process of a run that has lost another one ends, with one message."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Runs of three processes on one machine, of which the second is killed.
SCRIPT = """
import os, signal, sys, time, torch
from pathlib import Path
from mmconvnext.errors import one_line_errors
from mmconvnext.runner import peers

def play(rank, folder):
    sys.stderr = (folder / str(rank)).open('w')
    peers._INTERVAL, peers._PATIENCE = 0.1, 0.3
    store = torch.distributed.FileStore(str(folder / 'store'), 3)
    torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=3)
    with one_line_errors(), peers.peers_needed():
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600) if 'waiting' in folder.name else torch.distributed.barrier()

def fork(rank, folder):
    if (pid := os.fork()) == 0:
        code = 1
        try:
            play(rank, folder)
        except SystemExit as ended:
            print('' if ended.code == 1 else ended.code, file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    return pid

for name in sys.argv[2:]:
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    os.environ.pop('TORCHELASTIC_RUN_ID', None)
    if 'torchrun' in name:
        os.environ['TORCHELASTIC_RUN_ID'] = 'none'
    run = [fork(rank, folder) for rank in range(3)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in run]
    print(name, run[1], *codes)
"""
CASES = ('waiting', 'in_a_collective', 'waiting_under_torchrun', 'in_a_collective_under_torchrun')


@pytest.fixture(scope='module')
def runs(tmp_path_factory) -> dict[str, tuple[str, list[str], list[str]]]:
    """By case: the killed process, the exit codes, and what each process prints."""
    folder = tmp_path_factory.mktemp('runs')
    command = [sys.executable, '-c', SCRIPT, str(folder), *CASES]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    return {
        name: (pid, codes, [Path(folder, name, str(rank)).read_text() for rank in range(3)])
        for name, pid, *codes in lines
    }


@pytest.mark.parametrize('case', CASES)
def test_one_of_the_others_tells_it(case: str, runs) -> None:
    pid, codes, told = runs[case]
    assert codes == ['1', str(-signal.SIGKILL), '1']
    wanted = (
        f'error: expected 3 processes, but process 1 (PID {pid}) has ended (see its last lines); '
        'continue with --resume'
    )
    # torchrun tells of it.
    assert [one.strip() for one in told] == ['' if 'torchrun' in case else wanted, '', '']
