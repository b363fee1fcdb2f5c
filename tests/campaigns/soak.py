"""Train for 2,000 iterations, and see whether memory, descriptors or processes grow.

Example:
    python -m tests.campaigns.soak

The atto models train on generated samples with two data-loader workers, evaluations and
checkpoints. Resident memory, open descriptors and child processes of the training are read from
/proc after each iteration, and compared between the first fifth after
warm-up and the last fifth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 200  # iterations; after the first evaluation
CONFIG = """
_base_ = [{base!r}]
custom_imports = dict(imports=['mmconvnext', 'tests.campaigns.soak'])
custom_hooks = [dict(type='mmconvnext.SoakHook')]
train_dataloader = dict(batch_size=2, num_workers=2, persistent_workers=True)
val_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict({length})
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval={interval}))
"""
RUNS = {
    'segmentation': ('upernet', 'max_iters={iterations}, val_interval=100', 100),
    'detection': ('mask_rcnn', 'max_epochs={epochs}', 2),
}
IMAGES = 100


class Usage(NamedTuple):
    """What the training process uses after an iteration."""

    memory: int  # resident, in KiB
    descriptors: int
    processes: int  # children


@HOOKS.register_module(name='SoakHook')
class SoakHook(Hook):
    """Writes the usage after each iteration into the file ``SOAK``."""

    priority = 'LOWEST'

    def after_train_iter(self, *_: object, **__: object) -> None:
        with Path(os.environ['SOAK']).open('a') as file:
            file.write(json.dumps(_usage()) + '\n')


def _usage() -> Usage:
    status = Path('/proc/self/status').read_text()
    memory = int(status.partition('VmRSS:')[2].split()[0])
    children = [
        Path(task, 'children').read_text().split() for task in Path('/proc/self/task').iterdir()
    ]
    return Usage(memory, len(os.listdir('/proc/self/fd')), sum(map(len, children)))


def soak(kind: str, iterations: int) -> list[Usage]:
    """Train that many iterations; the usage after each."""
    model, length, interval = RUNS[kind]
    with tempfile.TemporaryDirectory() as folder:
        data, config, told = Path(folder, 'data'), Path(folder, 'config.py'), Path(folder, 'soak')
        make = [sys.executable, ROOT / 'tools/make_samples.py', data, '--kind', kind]
        size = ['--training', str(IMAGES), '--validation', '8']
        subprocess.run([*make, *size], check=True, capture_output=True)
        length = length.format(iterations=iterations, epochs=iterations // (IMAGES // 2))
        base = str(ROOT / f'configs/{model}_convnext_atto_samples.py')
        config.write_text(CONFIG.format(base=base, length=length, interval=interval))
        train = [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', Path(folder, 'run')]
        subprocess.run(
            [*train, '--no-amp', '--cfg-options', f'data_root={data}'],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {'SOAK': str(told), 'PYTHONPATH': str(ROOT)},
        )
        return [Usage(*json.loads(line)) for line in told.read_text().splitlines()]


def summary(found: list[Usage]) -> dict[str, tuple[float, float]]:
    """Return the usage in the first fifth after warm-up, and in the last fifth.

    Memory is the median. Of descriptors it is the minimum, as batches in the loader have some too.
    """
    warm = found[WARM_UP:]
    fifth = len(warm) // 5
    ends = warm[:fifth], warm[-fifth:]
    measures = dict.fromkeys(Usage._fields, min) | {'memory': median}
    return {
        name: tuple(measure(getattr(one, name) for one in end) for end in ends)
        for name, measure in measures.items()
    }


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--iterations', type=int, default=2000)
    arguments = parser.parse_args()
    for kind in RUNS:
        usage = soak(kind, arguments.iterations)
        print(kind, len(usage), 'iterations:', summary(usage), flush=True)
