"""Time and memory of loading ConvNeXt-XL: this package against plain torch.

Example:
    python benchmarks/load_xlarge.py

Each variant runs in a process of its own; peak is the most resident memory of the process above
what it had with the model built and nothing loaded, and which part of it maps the file (Linux).
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: Path) -> None:
    import torch

    from mmconvnext import ConvNeXt

    backbone = ConvNeXt('xlarge')
    state = {k: v for k, v in backbone.state_dict().items() if not k.startswith('norm')}
    state |= {'norm.weight': torch.ones(2048), 'norm.bias': torch.zeros(2048)}
    torch.save({'model': state}, path)


def measure(variant: str, path: Path) -> None:
    import torch

    from mmconvnext import ConvNeXt

    backbone = ConvNeXt('xlarge')
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    before = resident()
    with watched() as samples:
        started = time.perf_counter()
        if variant == 'mmconvnext':
            backbone.init_weights()
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)['model']
            backbone.load_state_dict(state, strict=False)
        seconds = time.perf_counter() - started
    own, mapped = (max(s[i] - before[i] for s in samples) / 2**20 for i in range(2))
    both = max(sum(s) - sum(before) for s in samples) / 2**20
    print(f'{variant}: {seconds:.2f} s, peak + {both:.2f} GiB (own {own:.2f}, mapped {mapped:.2f})')


def resident() -> tuple[int, int]:
    """Resident KiB of this process: its own, and of mapped files."""
    status = Path('/proc/self/status').read_text()
    return tuple(int(re.search(rf'{name}:\s+(\d+)', status)[1]) for name in ('RssAnon', 'RssFile'))


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
    parser.add_argument('--variant')
    parser.add_argument('--path', type=Path)
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    if arguments.variant:
        measure(arguments.variant, arguments.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'xlarge.pth'
        write(path)
        print(f'file of {path.stat().st_size / 2**30:.2f} GiB', flush=True)
        for number in range(arguments.rounds):
            for variant in ('torch', 'mmconvnext')[:: 1 if number % 2 else -1]:
                command = [sys.executable, __file__, '--variant', variant, '--path', str(path)]
                subprocess.run(command, check=True)


if __name__ == '__main__':
    main()
