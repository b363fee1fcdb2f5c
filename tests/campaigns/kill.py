"""Kill a run at any moment of its writing, and see that a readable checkpoint is there.

Example:
    python -m tests.campaigns.kill --times 50

Each time a run with ``max_keep_ckpts=1`` saves after every iteration, which takes most of its
time, and is killed (SIGKILL) at a random moment after its first complete checkpoint. Prints where
in the writing the kills fell; ends in an error if ever no whole checkpoint is left, or if one
cannot be gone on from.
"""

import argparse
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

import mmconvnext  # noqa: F401  (lets torch read what mmengine writes)
from mmconvnext.checkpoints.of_a_run import LAST, newest_whole, run_checkpoints
from tests.toy_run import ToyModel, toy_runner

SIZE = 6_000_000  # parameters beside the toy's, so that writing takes a while
BETWEEN = 'between two writings'
PATIENCE = 60  # seconds until the first checkpoint


class LargeToy(ToyModel):
    """With so many parameters that it is written for longer than it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.ballast = nn.Parameter(torch.zeros(SIZE))

    def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
        outputs = super().forward(inputs, data_samples, mode)
        return {**outputs, 'loss_none': 0 * self.ballast[0]} if mode == 'loss' else outputs


def write_for_ever(work_dir: Path) -> None:
    torch.set_num_threads(1)
    options = dict(checkpoint=dict(max_keep_ckpts=1), model=LargeToy(), log_level='ERROR')
    toy_runner(work_dir, iters=10**6, **options).train()


def kill_once(work_dir: Path, seconds: float) -> str:
    """Kill a run so many seconds after its first checkpoint; say what it was doing.

    Raises:
        RuntimeError: no whole checkpoint is left, or it cannot be gone on from.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    run = context.Process(target=write_for_ever, args=(work_dir,))
    run.start()
    begun = time.monotonic()
    while not (work_dir / LAST).is_file():
        if time.monotonic() - begun > PATIENCE or run.exitcode is not None:
            run.kill()
            raise RuntimeError(f'no checkpoint after {PATIENCE} s (exit code {run.exitcode})')
        time.sleep(0.001)
    time.sleep(seconds)
    run.kill()
    run.join()
    return state_of(work_dir)


def state_of(work_dir: Path) -> str:
    """Where in its writing the run was; the state it left is checked."""
    found = newest_whole(work_dir)
    if found.path is None or found.passed_over:
        raise RuntimeError(f'expected whole checkpoints alone, found {found}')
    there = run_checkpoints(work_dir)
    last = (work_dir / LAST).read_text().strip()
    runner = toy_runner(work_dir, iters=10**6, model=LargeToy(), resume=True, log_level='ERROR')
    runner.build_train_loop(runner._train_loop)
    content = runner.load_checkpoint(str(found.path))
    if content['meta']['iter'] < 1:
        raise RuntimeError(f'{found.path}: not a checkpoint to go on from')
    if list(work_dir.glob(f'.{LAST}*')):
        return f'writing {LAST}'
    if list(work_dir.glob('.*.partial')):
        return 'writing the checkpoint'
    if last != there[-1].name:
        return f'before {LAST}'
    return 'before the older one is removed' if len(there) > 1 else BETWEEN


def campaign(times: int, seed: int = 0) -> Counter:
    """Kill runs until so many kills fell into the writing; where in it they fell."""
    pick, states = random.Random(seed), Counter()
    while states.total() - states[BETWEEN] < times:
        folder = Path(tempfile.mkdtemp(prefix='killed-'))
        try:
            states[kill_once(folder / 'run', pick.uniform(0, 0.25))] += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return states


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--times', type=int, default=50, help='kills in the writing; 50')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    states = campaign(arguments.times, arguments.seed)
    for state, count in states.most_common():
        print(f'{count:4d} killed {state}')
    print(f'{states.total()} of {states.total()} left a whole checkpoint')


if __name__ == '__main__':
    main()
