"""Time of writing and checking a checkpoint of training of ConvNeXt-XL, beside plain torch.

Example:
    python benchmarks/write_xlarge.py --folder /var/tmp

The checkpoint has the weights and AdamW's two averages. Written by ``torch.save`` and a sync of the
same bytes, and as mmconvnext.Runner writes it: a temporary file, synced and renamed, and looked
through for NaN and infinity meanwhile. Then the file is read once from front to end, and checked
against its CRCs, each with the page cache emptied of it before, and with it in there. Rounds
alternate.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from functools import partial
from itertools import product
from pathlib import Path

import torch

from mmconvnext import ConvNeXt
from mmconvnext.analysis.benchmark.timing import seconds_of
from mmconvnext.checkpoints import whole
from mmconvnext.checkpoints.finite import require_finite_run
from mmconvnext.checkpoints.whole import require_intact, save_whole

CHUNK = 1 << 24


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


def plain(content: dict, path: Path) -> None:
    torch.save(content, path)
    with path.open('rb') as file:
        os.fsync(file.fileno())


def ours(content: dict, path: Path) -> None:
    save_whole(content, path, check=partial(require_finite_run, content, path))


def read_once(path: Path) -> None:
    buffer = bytearray(CHUNK)
    with path.open('rb', buffering=0) as file:
        while file.readinto(buffer):
            pass


def check(path: Path) -> None:
    whole._intact.clear()
    require_intact(path)


def forget(path: Path) -> None:
    """Have the system drop what it has of the file in memory."""
    with path.open('rb') as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--folder', type=Path, help='on the disk to measure; a temporary one')
    arguments = parser.parse_args()
    content, taken = training_state(), defaultdict(list)
    writers = {'torch.save and sync': partial(plain, content), 'here': partial(ours, content)}
    readers = {'read once': read_once, 'CRCs checked': check}
    # What is done before each, and what then.
    writing = {f'write: {name}': (Path.unlink, write) for name, write in writers.items()}
    from_disk = {f'{name}, from the disk': (forget, read) for name, read in readers.items()}
    from_memory = {f'{name}, from memory': (read_once, read) for name, read in readers.items()}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / 'xlarge.pth'
        plain(content, path)  # the first one takes up to twice as long
        print(f'{path.stat().st_size / 2**30:.2f} GiB written', flush=True)
        for groups, number in product(
            ([writing], [from_disk, from_memory]), range(arguments.rounds)
        ):
            for group in groups:
                for name, (before, action) in [*group.items()][:: 1 if number % 2 else -1]:
                    before(path)
                    os.sync()
                    time.sleep(2)  # for what the disk has still to do
                    taken[name].append(seconds_of(lambda _, action=action: action(path)))
    for name, times in taken.items():
        median = statistics.median(times)
        print(f'{name}: median {median:.2f} s ({min(times):.2f} – {max(times):.2f})')


if __name__ == '__main__':
    main()
