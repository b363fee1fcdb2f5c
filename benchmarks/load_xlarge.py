"""Time and memory of loading ConvNeXt-XL: this package against plain torch.

Example:
    python benchmarks/load_xlarge.py

Each variant runs in a process of its own; peak is the most resident memory of the process above
what it had with the model built and nothing loaded, and which part of it maps the file (Linux).
"""

import argparse
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mmconvnext import ConvNeXt
from mmconvnext.analysis.benchmark.memory import MemoryMeter, process_status
from mmconvnext.analysis.benchmark.timing import seconds_of


def write(path: Path) -> None:
    state = ConvNeXt('xlarge').state_dict()
    state = {key: value for key, value in state.items() if not key.startswith('norm')}
    state |= {'norm.weight': torch.ones(2048), 'norm.bias': torch.zeros(2048)}
    torch.save({'model': state}, path)


def measure(variant: str, path: Path) -> str:
    backbone = ConvNeXt('xlarge')
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(path))

    def load(_: int) -> None:
        if variant == 'mmconvnext':
            backbone.init_weights()
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)['model']
            backbone.load_state_dict(state, strict=False)

    with watched() as samples:
        seconds = seconds_of(load)
    own, mapped, both = ((max(x) - x[0]) / 2**30 for x in zip(*((a, b, a + b) for a, b in samples)))
    return f'{seconds:.2f} s, peak + {both:.2f} GiB (own {own:.2f}, mapped {mapped:.2f})'


def resident() -> tuple[int, int]:
    """Resident bytes of this process: its own, and of mapped files."""
    return process_status('RssAnon'), process_status('RssFile')


@contextmanager
def watched() -> Iterator[list[tuple[int, int]]]:
    """Collects :func:`resident` all the while."""
    samples, done = [resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            samples.append(resident())

    thread = threading.Thread(target=watch)
    thread.start()
    yield samples
    done.set()
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    memory = MemoryMeter(start='spawn')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'xlarge.pth'
        write(path)
        print(f'file of {path.stat().st_size / 2**30:.2f} GiB', flush=True)
        for number in range(arguments.rounds):
            for variant in ('torch', 'mmconvnext')[:: 1 if number % 2 else -1]:
                print(f'{variant}: {memory.run(measure, variant, path)}', flush=True)


if __name__ == '__main__':
    main()
