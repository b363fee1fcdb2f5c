"""Time of loading and of writing checkpoints of ConvNeXt-XL: this package beside plain torch.

Example:
    python benchmarks/checkpoints.py load
    python benchmarks/checkpoints.py write --folder /var/tmp

load: each in a process of its own. The peak is the most resident memory of the process above what
it had with the model built and nothing loaded, and which part of it maps the file (Linux).

write: a training checkpoint with AdamW's two averages, by torch.save and a sync of the same bytes,
and as mmconvnext.Runner writes it: a temporary file, synced and renamed, and looked through for NaN
and infinity meanwhile. Then the file is read once from front to end, and checked against its CRCs,
each with the page cache emptied of it before, and with it in there.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from mmconvnext import ConvNeXt
from mmconvnext.analysis.benchmark.memory import MemoryMeter, process_status
from mmconvnext.analysis.benchmark.timing import Timed, seconds_of, time_rounds
from mmconvnext.checkpoints import whole
from mmconvnext.checkpoints.finite import require_finite_run


def measure_load(path: Path, rounds: int) -> None:
    state = ConvNeXt('xlarge').state_dict()
    state = {key: value for key, value in state.items() if not key.startswith('norm')}
    state |= {'norm.weight': torch.ones(2048), 'norm.bias': torch.zeros(2048)}
    torch.save({'model': state}, path)
    print(f'file of {path.stat().st_size / 2**30:.2f} GiB', flush=True)
    memory = MemoryMeter(start='spawn')
    for number in range(rounds):
        for variant in ('torch', 'mmconvnext')[:: 1 if number % 2 else -1]:
            print(f'{variant}: {memory.run(load, variant, path)}', flush=True)


def load(variant: str, path: Path) -> str:
    """What loading takes in this process, in words."""
    backbone = ConvNeXt('xlarge')
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(path))

    def by_torch(_: int) -> None:
        state = torch.load(path, map_location='cpu', weights_only=True)['model']
        backbone.load_state_dict(state, strict=False)

    with resident() as samples:
        seconds = seconds_of(by_torch if variant == 'torch' else lambda _: backbone.init_weights())
    own, mapped, both = ((max(x) - x[0]) / 2**30 for x in zip(*((a, b, a + b) for a, b in samples)))
    return f'{seconds:.2f} s, peak + {both:.2f} GiB (own {own:.2f}, mapped {mapped:.2f})'


@contextmanager
def resident() -> Iterator[list[tuple[int, int]]]:
    """Collects this process's resident bytes all the while: its own, and of mapped files."""
    samples, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            samples.append((process_status('RssAnon'), process_status('RssFile')))

    samples.append((process_status('RssAnon'), process_status('RssFile')))
    thread = threading.Thread(target=watch)
    thread.start()
    yield samples
    done.set()
    thread.join()


def measure_write(path: Path, rounds: int) -> None:
    content = training_state()
    check = partial(require_finite_run, content, path)
    save_plainly(content, path)  # the first one takes up to twice as long
    print(f'{path.stat().st_size / 2**30:.2f} GiB written', flush=True)
    writers = {
        'write: torch.save and sync': lambda _: save_plainly(content, path),
        'write: here': lambda _: whole.save_whole(content, path, check=check),
    }
    report(writers, rounds, before=lambda _: path.unlink())
    readers = {'read once': read_once, 'CRCs checked': check_sums}
    report(
        {f'{name}, from {place}': lambda _, read=read: read(path)
         for place in ('the disk', 'memory') for name, read in readers.items()},
        rounds,
        before=lambda name: (forget if name.endswith('disk') else read_once)(path),
    )  # fmt: skip


def report(runs: Mapping[str, Timed], rounds: int, before: Callable[[str], None]) -> None:
    """Print the times of steps, each of them after something that is not timed."""

    def make_ready(name: str) -> None:
        before(name)
        os.sync()
        time.sleep(2)  # for what the disk has still to do

    for name, times in time_rounds(runs, rounds=rounds, warm_up=0, report=make_ready).items():
        median = statistics.median(times)
        print(f'{name}: median {median:.2f} s ({min(times):.2f} – {max(times):.2f})', flush=True)


def training_state() -> dict:
    state = ConvNeXt('xlarge').state_dict()
    averages = {
        place: dict(
            step=torch.tensor(1.0), exp_avg=torch.rand_like(v), exp_avg_sq=torch.rand_like(v)
        )
        for place, v in enumerate(state.values())
    }
    optimizer = dict(state=averages, param_groups=[])
    return dict(meta=dict(iter=1), state_dict=state, optimizer=optimizer)


def save_plainly(content: dict, path: Path) -> None:
    torch.save(content, path)
    with path.open('rb') as file:
        os.fsync(file.fileno())


def read_once(path: Path) -> None:
    buffer = bytearray(1 << 24)
    with path.open('rb', buffering=0) as file:
        while file.readinto(buffer):
            pass


def check_sums(path: Path) -> None:
    whole._intact.clear()
    whole.require_intact(path)


def forget(path: Path) -> None:
    """Have the system drop what it has of the file in memory."""
    with path.open('rb') as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('what', choices=('load', 'write'))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--folder', type=Path, help='on the disk to measure; a temporary one')
    arguments = parser.parse_args()
    measure = measure_load if arguments.what == 'load' else measure_write
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder) / 'xlarge.pth', arguments.rounds)


if __name__ == '__main__':
    main()
