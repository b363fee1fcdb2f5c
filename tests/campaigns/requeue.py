"""Play Slurm with the job script of docs/many_gpus.md: stop the job, requeue it, start it again.

Example:
    python -m tests.campaigns.requeue --starts 6

The job trains a small UperNet in two processes, by tools/dist_train.sh instead of srun. In turn it
meets its time limit (SIGUSR1 to the script, which asks for a requeue), a preemption (SIGTERM to the
processes) and a dead node (SIGKILL). ``--grace`` seconds after the first two, what is left gets
SIGKILL. Then the same command starts again, until the training ends by itself. Its state must equal
that of a job left alone, to the bit.
"""

import argparse
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.campaigns.resuming import ROOT, differences, state

SRUN = 'srun python -u tools/train.py CONFIG --launcher slurm --resume'
TWO = (
    '{root}/tools/dist_train.sh {config} 2 --work-dir {work_dir} --no-amp --seed 3 '
    '--cfg-options data_root={data} --resume'
)
CONFIG = """
_base_ = [{base!r}]
custom_hooks = [dict(type='EMAHook', momentum=0.01)]
model = dict(backbone=dict(drop_path_rate=0.3))
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=80, val_interval=40)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3))
"""
EVENTS = {'time limit': signal.SIGUSR1, 'preemption': signal.SIGTERM, 'dead node': signal.SIGKILL}
PATIENCE = 900  # seconds for one start


def play(job: Path, events: Iterator[str], grace: float, draw: random.Random) -> list[str]:
    """Start the job until it ends by itself; ``events`` stop it. Returns those that did.

    Raises:
        RuntimeError: the job failed by itself, did not end, or asked for no requeue at its time
            limit.
    """
    met: list[str] = []
    work_dir, log, requeued = (job.with_suffix(end) for end in ('', '.log', '.requeued'))
    bin_path = f'{job.parent}:{os.environ["PATH"]}'  # with a stand-in for scontrol
    environment = os.environ | dict(
        PATH=bin_path, REQUEUED=str(requeued), SLURM_JOB_ID='1', OMP_NUM_THREADS='1'
    )
    environment |= dict(PYTHONPATH=str(ROOT), PYTHON=sys.executable)
    while True:
        environment['PORT'] = str(draw.randint(20000, 40000))
        with log.open('a') as out:
            seen = out.tell()
            running = subprocess.Popen(
                ['bash', str(job)], env=environment, stdout=out, stderr=out, start_new_session=True
            )
        event = next(events, None)
        _wait(partial(_trains_or_ended, running, log, seen if event else None), PATIENCE)
        time.sleep(draw.uniform(0, 3) if event else 0)
        if running.poll() is not None:
            if running.returncode:
                raise RuntimeError(f'exit code {running.returncode}: {log.read_text()[-2000:]}')
            return met
        if event is None:
            _stop(running, signal.SIGKILL, work_dir, requeued, grace)
            raise RuntimeError(f'not done after {PATIENCE} seconds: {log.read_text()[-2000:]}')
        met.append(event)
        _stop(running, EVENTS[event], work_dir, requeued, grace)
        if event == 'time limit' and not requeued.exists():
            raise RuntimeError(f'the script asked for no requeue: {log.read_text()[-2000:]}')
        requeued.unlink(missing_ok=True)


def _trains_or_ended(running: subprocess.Popen, log: Path, seen: int | None) -> bool:
    """Whether a start has trained an iteration, if ``seen`` of the log are before it, or ended."""
    trains = seen is not None and b'Iter(train)' in log.read_bytes()[seen:]
    return trains or running.poll() is not None


def _stop(
    running: subprocess.Popen, number: int, work_dir: Path, asked: Path, grace: float
) -> None:
    if number == signal.SIGUSR1:
        running.send_signal(number)
        _wait(lambda: asked.exists() or running.poll() is not None, grace)
    else:
        _signal_all(work_dir, number)
        _wait(lambda: running.poll() is not None, grace)
    _signal_all(work_dir, signal.SIGKILL)
    running.kill()
    running.wait()


def _wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.1)


def _signal_all(work_dir: Path, number: int) -> None:
    """Signal the training's processes; torchrun's children have sessions of their own."""
    for entry in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            if f'{work_dir}\0'.encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), number)
        except OSError:
            pass  # it has just ended


def campaign(starts: int, grace: float = 60, seed: int = 0) -> list[str]:
    """Stop a job so many times; what it met.

    Raises:
        AssertionError: it did not end like the job left alone.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        make = [sys.executable, ROOT / 'tools/make_samples.py', f'{folder}/data']
        size = ('--training', '12', '--validation', '3')
        subprocess.run([*make, *size], check=True, capture_output=True, cwd=ROOT)
        base = str(ROOT / 'configs/upernet_convnext_atto_samples.py')
        config = Path(folder, 'config.py')
        config.write_text(CONFIG.format(base=base))
        scontrol = Path(folder, 'scontrol')
        scontrol.write_text('#!/bin/sh\necho "$@" > "$REQUEUED"\n')
        scontrol.chmod(0o755)
        alone, stopped = (_job(Path(folder, name), config) for name in ('alone', 'stopped'))
        play(alone, iter(()), grace, draw)
        met = play(stopped, itertools.islice(itertools.cycle(EVENTS), starts), grace, draw)
        ends = [state(job.with_suffix(''), 'iter_80.pth') for job in (stopped, alone)]
        found = list(differences(*ends))
        assert not found, f'{found[:5]} differ'
        return met


def _job(work_dir: Path, config: Path) -> Path:
    """Write the documented script, with tools/dist_train.sh instead of srun."""
    page = (ROOT / 'docs/many_gpus.md').read_text('utf-8')
    (script,) = re.findall(r'```sh\n(#!/bin/bash\n.*?)```', page, re.DOTALL)
    command = re.sub(r'configs/\S+', 'CONFIG', script)
    assert SRUN in command, command
    job = work_dir.with_suffix('.sh')
    data = config.with_name('data')
    train = TWO.format(root=ROOT, config=config, work_dir=work_dir, data=data)
    job.write_text(command.replace(SRUN, train))
    return job


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--starts', type=int, default=6, help='times that the job is stopped')
    parser.add_argument('--grace', type=float, default=60, help='seconds before SIGKILL')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    print(campaign(arguments.starts, arguments.grace, arguments.seed))
