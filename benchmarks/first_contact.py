"""Measure how long a new user waits for the demo's image, and for a prediction from the wheel.

Both start in an empty folder with an empty home, so with empty caches, and remove the folder at the
end. They need only Python's own modules, and only the commits or the wheel of this clone.

    python benchmarks/first_contact.py clone
    python benchmarks/first_contact.py wheel --checkpoint upernet_convnext_tiny_1k_512x512.pth

`clone` runs `git clone` of the current commit and `make demo`. `wheel` runs `pip install` of the
wheel (building it is not counted) and of mim with no compiler on the path, and `mim run … infer`
with the config of a published model. As for make, TORCH_INDEX_URL in the environment is another
index for torch, such as https://download.pytorch.org/whl/cpu. Both fail if the image is missing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'upernet_convnext_t_ade20k.py'
PUBLISHED = 'https://dl.fbaipublicfiles.com/convnext/ade20k/upernet_convnext_tiny_1k_512x512.pth'
# What a new machine has, too: programs, a number of threads, a network.
KEPT = (
    'PATH',
    'LANG',
    'OMP_',
    'PIP_',
    'HTTP_PROXY',
    'HTTPS_PROXY',
    'NO_PROXY',
    'SSL_CERT_',
    'TORCH_INDEX',
)


class Contact:
    """Runs commands in an empty folder and remembers each's seconds, by the clock and of CPU."""

    def __init__(self, folder: Path, path: str | None = None) -> None:
        home = folder / 'home'
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if key.upper().startswith(KEPT)}
        caches = {'HOME': str(home), 'PIP_CACHE_DIR': str(home / 'pip')}
        self.environment = {**kept, **caches, **({'PATH': path} if path else {})}
        self.folder = folder
        self.seconds: dict[str, tuple[float, float]] = {}

    def run(self, part: str, *command: object, folder: str = '.') -> None:
        """Run the command that a part of the way is."""
        print('$', *command, flush=True)
        before = os.times()
        subprocess.run(
            [str(word) for word in command],
            cwd=self.folder / folder,
            env=self.environment,
            check=True,
        )
        after = os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])  # user and system time of the processes it started
        self.seconds[part] = after.elapsed - before.elapsed, cpu

    def require(self, image: str) -> None:
        """Exit with an error unless some image is there."""
        if not any(path.stat().st_size for path in self.folder.glob(image)):
            sys.exit(f'error: expected an image at {image}, found none')


def clone(folder: Path, arguments: argparse.Namespace) -> Contact:
    contact = Contact(folder)
    # Over git's own protocol: a local clone would share the objects of this one.
    contact.run('git clone', 'git', 'clone', '--quiet', ROOT.as_uri(), 'mmconvnext')
    make = ('make', f'PYTHON={arguments.python}')
    contact.run('installation', *make, '.venv/installed', folder='mmconvnext')
    contact.run('samples, training and test', *make, 'demo', folder='mmconvnext')
    contact.require('mmconvnext/work_dirs/demo/pictures/*.png')
    return contact


def wheel(folder: Path, arguments: argparse.Namespace) -> Contact:
    environment = folder / 'environment'
    contact = Contact(folder, path=str(environment / 'bin'))
    for compiler in ('cc', 'gcc', 'c++', 'g++', 'clang', 'nvcc'):
        assert shutil.which(compiler, path=contact.environment['PATH']) is None
    options = ('--quiet', '--no-deps', '--wheel-dir', folder)
    source = folder / 'source'  # building leaves files beside its sources
    subprocess.run(['git', 'clone', '--quiet', ROOT, source], check=True)
    subprocess.run([arguments.python, '-m', 'pip', 'wheel', *options, source], check=True)
    (built,) = folder.glob('*.whl')

    contact.run('empty environment', arguments.python, '-m', 'venv', environment)
    pip = ('pip', 'install', '--quiet')
    index = os.environ.get('TORCH_INDEX_URL')
    extra = ('--extra-index-url', index) if index else ()
    pins = source / 'requirements' / 'constraints.txt'
    contact.run('installation', *pip, *extra, '-c', pins, f'{built}[openmmlab]')
    contact.run('mim', *pip, '--no-deps', '-r', source / 'requirements' / 'mim.txt')
    (package,) = environment.glob('lib/python*/site-packages/mmconvnext')
    infer = ('mim', 'run', 'mmconvnext', 'infer', package / '.mim' / 'configs' / CONFIG)
    contact.run('prediction', *infer, arguments.checkpoint, arguments.image, '--out', 'found')
    contact.require('found/pictures/*.png')
    return contact


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('way', choices=['clone', 'wheel'])
    parser.add_argument('--python', default=sys.executable, help='this one by default')
    parser.add_argument(
        '--checkpoint', default=PUBLISHED, help='published file; or its URL, fetched'
    )
    parser.add_argument('--image', default=ROOT / 'docs' / 'demo.png', type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if Path(arguments.checkpoint).is_file():
        arguments.checkpoint = Path(arguments.checkpoint).resolve()
    arguments.image = arguments.image.resolve()
    with tempfile.TemporaryDirectory(prefix='first_contact_') as folder:
        seconds = {'clone': clone, 'wheel': wheel}[arguments.way](Path(folder), arguments).seconds
    clocks, cpus = zip(*seconds.values())
    for part, (clock, cpu) in {**seconds, 'in all': (sum(clocks), sum(cpus))}.items():
        print(f'{clock:6.1f} s  ({cpu:5.1f} s of CPU)  {part}')


if __name__ == '__main__':
    main()
