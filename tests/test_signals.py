"""Signals to tools/train.py, alone and under torchrun, as a person or a cluster sends them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmconvnext.checkpoints.of_a_run import newest_whole
from tests.conftest import ROOT
from tests.test_tools import SAMPLES_CONFIG, short_run

PATIENCE = 120  # seconds, on a busy machine
Start = Callable[..., subprocess.Popen]


def endless(samples: Path, *more: str) -> list[str]:
    options = ['train_cfg.max_iters=100000', 'train_cfg.val_interval=100000']
    options += ['default_hooks.checkpoint.interval=100000', 'train_dataloader.num_workers=2']
    return [*short_run(samples), *options, 'train_dataloader.persistent_workers=True', *more]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command in a group of its own, as a terminal does; its output in ``log``."""
    processes = []

    def begin(*command: object) -> subprocess.Popen:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        environment = dict(os.environ, PYTHON=sys.executable, PORT=port, OMP_NUM_THREADS='1')
        environment.pop('TORCHELASTIC_RUN_ID', None)
        with (tmp_path / 'log').open('wb') as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(path: Path, pattern: str, process: subprocess.Popen) -> re.Match:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = re.search(pattern, path.read_text(errors='replace')) if path.is_file() else None
        if found:
            return found
        assert process.poll() is None, path.read_text(errors='replace')[-3000:]
        time.sleep(0.05)
    raise AssertionError(f'{pattern}: not in {path.read_text(errors="replace")[-3000:]}')


def left_over(work_dir: Path) -> list[str]:
    """Processes that were started with this work dir, workers of data loaders included."""
    found = []
    for place in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            command = place.read_bytes()
        except OSError:
            continue
        if str(work_dir).encode() in command:
            found.append(place.parent.name)
    return found


@pytest.mark.parametrize('to_group', [False, True])
def test_the_run_saves_ends_and_is_gone_on_from(start, samples, run_tool, tmp_path, to_group):
    work_dir = tmp_path / 'run'
    options = endless(samples)
    process = start(
        *(sys.executable, 'tools/train.py', SAMPLES_CONFIG, '--work-dir', work_dir), *options
    )
    wait_for(tmp_path / 'log', r'Iter\(train\) \[ *2/', process)
    if to_group:  # Ctrl-C in a terminal
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == (130 if to_group else 143)
    assert left_over(work_dir) == []
    output = (tmp_path / 'log').read_text()
    assert 'Traceback' not in output
    done = int(re.search(r'saved \S+iter_(\d+).pth after \1 iterations; continue', output)[1])
    assert newest_whole(work_dir).path == work_dir / f'iter_{done}.pth'
    again = run_tool(
        *('tools/train.py', SAMPLES_CONFIG, '--work-dir', work_dir, '--resume'),
        *short_run(samples, f'train_cfg.max_iters={done + 1}', 'train_cfg.val_interval=100000'),
    )
    assert again.returncode == 0, again.stderr
    assert f'Iter(train) [{done + 1}/{done + 1}]' in again.stdout + again.stderr


def test_a_second_signal_ends_at_once_without_leaving_workers(start, tmp_path) -> None:
    """While the run waits for its data."""
    script = tmp_path / 'slow.py'
    script.write_text(
        f'import sys; sys.path.insert(0, {str(ROOT)!r})\n'
        f'from pathlib import Path\nfrom tests.toy_run import ToyData, toy_runner\n'
        'import time\n'
        'class Slow(ToyData):\n'
        '    def __getitem__(self, index):\n'
        '        if index >= 4:\n'
        '            print("waiting", flush=True)\n'
        '            time.sleep(600)\n'
        '        return super().__getitem__(index)\n'
        'loader = dict(batch_size=2, num_workers=2, dataset=Slow(), sampler=dict('
        'type="InfiniteSampler", shuffle=False))\n'
        f'toy_runner(Path({str(tmp_path / "run")!r}), train_dataloader=loader).train()\n'
    )
    process = start(sys.executable, script, tmp_path / 'run')
    wait_for(tmp_path / 'log', 'Iter.train. .2/4.', process)
    wait_for(tmp_path / 'log', 'waiting', process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None, 'it waits for the step'
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert process.wait(PATIENCE) == 143
    assert time.monotonic() - begun < 5
    assert left_over(tmp_path / 'run') == []


def test_two_processes_agree_save_and_end(start, samples, tmp_path) -> None:
    work_dir = tmp_path / 'run'
    process = start(
        *('tools/dist_train.sh', SAMPLES_CONFIG, 2, '--work-dir', work_dir), *endless(samples)
    )
    log = tmp_path / 'log'
    wait_for(log, r'Iter\(train\) \[ *2/', process)
    process.send_signal(signal.SIGUSR1)
    saved = int(wait_for(log, r'SIGUSR1: saved \S+iter_(\d+).pth', process)[1])
    wait_for(log, rf'Iter\(train\) \[ *{saved + 1}/', process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    assert left_over(work_dir) == []
    done = int(re.search(r'SIGTERM: saved \S+iter_(\d+).pth', log.read_text())[1])
    assert newest_whole(work_dir).path == work_dir / f'iter_{done}.pth'


def test_one_message_tells_of_a_killed_process(start, samples, tmp_path) -> None:
    work_dir, log = tmp_path / 'run', tmp_path / 'log'
    process = start(
        *('tools/dist_train.sh', SAMPLES_CONFIG, 2, '--work-dir', work_dir), *endless(samples)
    )
    wait_for(log, r'Iter\(train\) \[ *2/', process)
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    begun = time.monotonic()
    assert process.wait(PATIENCE) == 128 + signal.SIGKILL
    assert time.monotonic() - begun < 60
    assert left_over(work_dir) == []
    _, *after = log.read_text().rpartition('Iter(train)')[2].splitlines()
    assert [line.partition(',')[0] for line in after] == [
        f'error: process 1 (PID {children[1]}) was killed by SIGKILL'
    ]
