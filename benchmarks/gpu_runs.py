"""Stages of gpu.py: training with the tools, and places where the host waits for the device."""

import json
import os
import statistics
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import rivals
from benchmarks.gpu_setup import DETECTOR, ROOT, SEGMENTOR, Setup
from benchmarks.task import prepare
from mmconvnext.analysis.benchmark.step import Step


def waits(setup: Setup) -> None:
    """Count how often, and where, the host waits for the device in a step; mmseg and mmdet too."""
    small = setup.tiny
    cases = (
        ('segmentor', SEGMENTOR, (64, 96) if small else (512, 512), 'mmseg'),
        ('detector', DETECTOR, (128, 128) if small else (800, 1344), 'mmdet'),
    )
    for kind, config, size, rival in cases:
        for training in (True, False):
            task = setup.task(kind, config, size, 2, training, 'fp16')
            builders, _ = rivals.available(kind, (rival,))
            for name, build in {'ours': None, **builders}.items():
                title = f'{kind} {task.title}, {name}'
                with setup.case(title):
                    _count_waits(setup, title, prepare(task, build))


def _count_waits(setup: Setup, title: str, step: Step) -> None:
    step(0)
    if setup.device == 'cpu':
        setup.findings.say(title, waits='only counted on a GPU')
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            step(1)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    places = Counter(
        f'{Path(one.filename).name}:{one.lineno}'
        for one in caught
        if 'synchroniz' in str(one.message)
    )
    setup.findings.say(title, waits=places.total(), places=dict(places.most_common(12)))


# Iterations and epochs of the first run and of the resumed one, full and small.
RUNS = {
    'segmentation': ('upernet_convnext_atto_samples.py', 'max_iters', (30, 45), (6, 10)),
    'detection': ('mask_rcnn_convnext_atto_samples.py', 'max_epochs', (1, 2), (1, 2)),
}


def train(setup: Setup) -> None:
    """Train with the tools in mixed precision: the loss must fall, and resuming must work."""
    for kind in RUNS:
        with TemporaryDirectory() as folder, setup.case(f'training, {kind}'):
            _train(setup, kind, Path(folder))


def _train(setup: Setup, kind: str, folder: Path) -> None:
    config, length, full, small = RUNS[kind]
    made = ('--training', '8' if setup.tiny else '32', '--validation', '4')
    _run(setup, f'samples, {kind}', 'make_samples.py', folder / 'data', '--kind', kind, *made)
    for turn, end in enumerate(small if setup.tiny else full):
        every = 1 if kind == 'detection' else end
        options = [
            f'train_cfg.{length}={end}',
            f'train_cfg.val_interval={end}',
            f'default_hooks.checkpoint.interval={every}',
            'default_hooks.logger.interval=2',
            f'data_root={folder / "data"}',
        ]
        name = f'training, {kind}, {"resumed" if turn else "first run"}'
        where = ['--work-dir', folder / 'run', *(['--resume'] if turn else [])]
        path = ROOT / 'configs' / config
        if not _run(setup, name, 'train.py', path, '--amp', *where, '--cfg-options', *options):
            return
    _say_losses(setup, kind, folder / 'run')


def _run(setup: Setup, name: str, script: str, *arguments: object) -> bool:
    """Run a tool; report and return whether it succeeded."""
    if setup.findings.late():
        raise TimeoutError('no time left')
    command = [sys.executable, ROOT / 'tools' / script, *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=600 if setup.tiny else 60,
        env=os.environ | {'PYTHONPATH': path},
    )
    ok = done.returncode == 0
    end = {} if ok else {'end': (done.stdout + done.stderr)[-1500:]}
    setup.findings.say(name, ok=ok, **end)
    return ok


def _say_losses(setup: Setup, kind: str, folder: Path) -> None:
    losses = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = map(json.loads, file.read_text().splitlines())
        losses |= {line['step']: line['loss'] for line in lines if 'loss' in line}
    values = [losses[step] for step in sorted(losses)]
    third = max(1, min(3, len(values) // 3))
    first, last = (statistics.mean(part) for part in (values[:third], values[-third:]))
    # A few steps of a small model may not show it.
    ok = last < first or setup.tiny
    setup.findings.say(f'training, {kind}, loss', ok=ok, first=first, last=last, steps=len(values))
