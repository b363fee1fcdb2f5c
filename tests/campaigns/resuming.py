"""Kill runs of the tools at random moments, resume them, and compare with the run left alone.

Example:
    python -m tests.campaigns.resuming --times 30

Each run trains a small UperNet or Mask R-CNN on generated samples, with dropout, stochastic depth
and an EMA of the weights. At a random moment, in half of the cases twice, all its processes are
killed (SIGKILL), or the run is told to stop (SIGTERM), which it does in the middle of an epoch. The
run is then resumed. At the end, weights, optimizer, EMA, schedulers, random states and logged
losses must equal those of the run left alone, to the bit. The campaign prints what the runs were
doing when they were killed.
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.hooks import Hook

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds for a run
CONFIG = """
_base_ = [{base!r}]
custom_imports = dict(imports=['mmconvnext', 'tests.campaigns.resuming'])
custom_hooks = [dict(type='EMAHook', momentum=0.01), dict(type='mmconvnext.PhaseHook')]
workers = dict(num_workers={workers}, persistent_workers={persistent})
train_dataloader = dict(batch_size={batch}, **workers{sampler})
val_dataloader = dict(num_workers=0, persistent_workers=False)
model = dict(backbone=dict(drop_path_rate=0.3))
optim_wrapper = dict(accumulative_counts={accumulated})
train_cfg = dict({length})
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval={interval}))
"""
KINDS = {
    'segmentation': ('upernet', 'max_iters=16, val_interval=8', 3, 'iter_16.pth'),
    'detection': ('mask_rcnn', 'max_epochs=3', 1, 'epoch_3.pth'),
}


class Case(NamedTuple):
    """How a run is made."""

    kind: str
    workers: int
    persistent: bool
    accumulated: int
    processes: int

    def __str__(self) -> str:
        workers = f'{self.workers}{" persistent" if self.persistent else ""} workers'
        return f'{self.kind}, {workers}, × {self.accumulated}, {self.processes} processes'


CASES = [
    Case(kind, *others)
    for others in ((0, False, 1, 1), (2, True, 2, 1), (2, False, 1, 2), (2, False, 2, 1))
    for kind in KINDS
]


PHASES = ('loader', 'forward', 'backward', 'step', 'writing', 'evaluation')


class Blow(NamedTuple):
    """After so many seconds, as soon as the run is in a phase."""

    seconds: float
    phase: str
    number: signal.Signals


@HOOKS.register_module(name='PhaseHook')
class PhaseHook(Hook):
    """Writes what the run is doing into the file ``PHASE``."""

    def before_train(self, runner) -> None:
        wrapper = runner.optim_wrapper
        for name in ('backward', 'step'):
            setattr(wrapper, name, _noted(name, getattr(wrapper, name)))
        _note('loader')

    def before_train_iter(self, runner, batch_idx: int, data_batch: object = None) -> None:
        _note('forward')

    def after_train_iter(self, *_: object, **__: object) -> None:
        _note('loader')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        _note('writing')

    def before_val_epoch(self, runner) -> None:
        _note('evaluation')

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        _note('loader')


def _noted(name: str, function):
    def noted(*args: object, **options: object):
        _note(name)
        return function(*args, **options)

    return noted


def _note(phase: str) -> None:
    Path(os.environ['PHASE']).write_text(phase)


def run(case: Case, config: Path, work_dir: Path, blow: Blow | None, *more: str) -> str:
    """Run the training, to its end or until the blow; what it was doing then.

    Raises:
        RuntimeError: it failed.
    """
    phase = work_dir.with_suffix('.phase')
    phase.write_text('start')
    options = ['--work-dir', str(work_dir), '--no-amp', '--seed', '3', *more]
    options += ['--cfg-options', f'data_root={config.with_name(case.kind)}']
    train = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
    if case.processes > 1:
        train = [str(ROOT / 'tools/dist_train.sh'), str(config), str(case.processes)]
    environment = os.environ | {
        'PHASE': str(phase),
        'PYTHON': sys.executable,
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        'PORT': str(random.randint(20000, 40000)),
    }
    with work_dir.with_suffix('.log').open('a') as log:
        running = subprocess.Popen(
            train + options, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        found = _strike(running, blow, phase, work_dir) if blow else 'ended'
        code = running.wait(PATIENCE)
    if code and found == 'ended':
        last = work_dir.with_suffix('.log').read_text()[-2000:]
        raise RuntimeError(f'{case}: exit code {code}: {last}')
    return found


def _strike(running: subprocess.Popen, blow: Blow, phase: Path, work_dir: Path) -> str:
    try:
        running.wait(blow.seconds)
    except subprocess.TimeoutExpired:
        while running.poll() is None and phase.read_text() != blow.phase:
            time.sleep(0.0005)
    if running.poll() is not None:
        return 'ended'
    if blow.number != signal.SIGKILL:
        running.send_signal(blow.number)
        return f'{blow.phase} ({blow.number.name})'
    os.killpg(running.pid, signal.SIGKILL)
    _kill_children(work_dir)
    return blow.phase


def _kill_children(work_dir: Path) -> None:
    """torchrun's processes have sessions of their own."""
    for entry in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            if str(work_dir).encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except OSError:
            pass  # it has just ended


def state(work_dir: Path, last: str) -> dict:
    """What has to be the same at the end of a run, by its last checkpoint's name."""
    content = read_checkpoint(str(work_dir / last))
    keys = ('state_dict', 'optimizer', 'ema_state_dict', 'param_schedulers', 'random_states')
    kept = {key: content[key] for key in keys}
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = itertools.chain.from_iterable(file.read_text().splitlines() for file in files)
    found = (json.loads(line) for line in lines)
    losses = {
        one['step']: {key: one[key] for key in one if 'loss' in key}
        for one in found
        if 'loss' in one
    }
    return kept | {'losses': losses}


def differences(a: object, b: object, name: str = '') -> Iterator[str]:
    """The names of what differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from differences(a.get(key), b.get(key), f'{name}.{key}')
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for number, (one, other) in enumerate(zip(a, b)):
            yield from differences(one, other, f'{name}.{number}')
    elif torch.is_tensor(a) and torch.is_tensor(b):
        if not torch.equal(a, b):
            yield name
    elif a != b:
        yield name


def campaign(times: int, seed: int = 0, cases: list[Case] = CASES) -> Counter[str]:
    """Kill that many runs; what they were doing.

    Raises:
        AssertionError: a run did not end like the one left alone.
    """
    draw, killed = random.Random(seed), Counter[str]()
    phases = itertools.cycle(PHASES)
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            _make_samples(Path(folder, kind), kind)
        alone: dict[Case, tuple[float, dict]] = {}
        for number, case in enumerate(itertools.cycle(cases)):
            if killed.total() - killed['ended'] >= times:
                break
            config = Path(folder, f'{CASES.index(case)}.py')
            if case not in alone:
                config.write_text(_config(case))
                started = time.monotonic()
                run(case, config, config.with_suffix('.alone'), None)
                seconds = time.monotonic() - started
                alone[case] = seconds, state(config.with_suffix('.alone'), KINDS[case.kind][3])
            seconds, wanted = alone[case]
            cut = Path(folder, f'cut_{number}')
            for _ in range(draw.choice((1, 2))):
                # Starting takes a third of the time.
                moment = draw.uniform(0.3, 0.8) * seconds
                phase = next(phases)
                kind = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
                killed[run(case, config, cut, Blow(moment, phase, kind), '--resume')] += 1
            run(case, config, cut, None, '--resume')
            found = list(differences(state(cut, KINDS[case.kind][3]), wanted))
            assert not found, f'{case}: {found[:5]} differ'
            print(f'{number + 1}: {case}: the same; {dict(killed)}', flush=True)
    return killed


def _make_samples(data: Path, kind: str) -> None:
    size = ('--training', '12', '--validation', '3')
    make = [sys.executable, ROOT / 'tools/make_samples.py', data, '--kind', kind, *size]
    subprocess.run(make, check=True, capture_output=True, cwd=ROOT)


def _config(case: Case) -> str:
    model, length, interval, _ = KINDS[case.kind]
    return CONFIG.format(
        base=str(ROOT / f'configs/{model}_convnext_atto_samples.py'),
        batch=4 // case.processes,
        sampler=", batch_sampler=dict(type='AspectRatioBatchSampler')" * (case.kind == 'detection'),
        workers=case.workers,
        persistent=case.persistent,
        accumulated=case.accumulated,
        length=length,
        interval=interval,
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--times', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', type=int, nargs='*', help='numbers of the cases')
    arguments = parser.parse_args()
    chosen = [CASES[n] for n in arguments.only] if arguments.only else CASES
    print(dict(campaign(arguments.times, arguments.seed, chosen)))
