"""Around a segmentor: loss and accuracy, post-processing, peak memory; mmconvnext's and mmseg's.

Example:
    python benchmarks/segmentation.py --data-root data/ade/ADEChallengeData2016

The data are in ADE20K's layout; without them, post-processing is left out. Both ways run in turn in
one process, and a ratio is the median of those of each turn (mmseg's time over ours), with the
least and the largest. A peak is of a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import mmconvnext  # noqa: F401  (makes mmseg importable)
from mmconvnext.segmentation import EncoderDecoder, FCNHead, IoUMetric

CONFIGS = Path(__file__).parents[1] / 'configs'
PARTS = ('loss', 'evaluation', 'peaks')
CLASSES = 150
TEST_CFGS = {
    'slide': dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
    'whole': dict(mode='whole'),
}
# 8 megapixels
HEIGHT, WIDTH = 2312, 3464


def alternate(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, of each round; the first round warms up and is not told."""
    seconds = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def add_row(table: Table, *what: str, seconds: dict[str, list[float]]) -> None:
    ratios = [theirs / ours for ours, theirs in zip(seconds['ours'], seconds['mmseg'])]
    table.add_row(
        *what,
        *(f'{statistics.median(seconds[name]) * 1000:.1f}' for name in ('mmseg', 'ours')),
        f'{statistics.median(ratios):.1f} ({min(ratios):.1f}…{max(ratios):.1f})',
    )


def measure_loss(rounds: int) -> Table:
    """Forward and backward of the loss and the accuracy, from the head's logits on."""
    from mmseg.structures import SegDataSample

    table = Table('logits', 'labels', 'mmseg, ms', 'ours, ms', 'ratio', title='loss and accuracy')
    # Of the main head, of the auxiliary head, of the generated samples.
    for number, classes, low, side in (
        (2, CLASSES, 128, 512),
        (2, CLASSES, 32, 512),
        (8, 6, 24, 96),
    ):
        labels = torch.randint(0, classes, (number, side, side))
        labels[torch.rand(labels.shape) < 0.1] = 255
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
        logits = torch.randn(number, classes, low, low, requires_grad=True)
        ways = {
            name: partial(step, logits, samples, fast=name == 'ours') for name in ('mmseg', 'ours')
        }
        torch.testing.assert_close(ways['ours'](), ways['mmseg'](), rtol=1e-3, atol=1e-9)
        sizes = f'{number} × {classes} × {low}²', f'{number} × {side}²'
        add_row(table, *sizes, seconds=alternate(ways, rounds))
    return table


def step(logits: Tensor, samples: list, fast: bool) -> Tensor:
    head = FCNHead(in_channels=1, channels=1, num_classes=logits.shape[1], fast=fast)
    losses = head.loss_by_feat(logits, samples)
    losses['acc_seg'].item()  # what the logger reads
    return torch.autograd.grad(losses['loss_ce'], logits)[0]


def build(mode: str, fast: bool, **options: object) -> EncoderDecoder:
    """The atto model with ADE20K's classes, untrained."""
    from mmseg.registry import MODELS

    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py').model
    config.decode_head.update(type='mmconvnext.UPerHead', num_classes=CLASSES)
    config.update(type='mmconvnext.EncoderDecoder', fast=fast, test_cfg=TEST_CFGS[mode], **options)
    return MODELS.build(ConfigDict(config)).eval()


def load(data_root: str) -> Iterator[dict]:
    """The validation pictures as the test pipeline makes them."""
    from mmseg.registry import DATASETS

    dataset = Config.fromfile(CONFIGS / '_base_/datasets/ade20k.py').val_dataloader.dataset
    dataset.data_root = data_root
    yield from DATASETS.build(dataset)


def likely_logits(labels: Tensor, shape: tuple[int, int]) -> Tensor:
    """(C, height / 4, width / 4) of noise that is mostly right about labels (1, H, W)."""
    size = [length // 4 for length in shape]
    small = F.interpolate(labels[None].float(), size)[0, 0].long()
    logits = torch.randn(CLASSES, *size)
    return logits.scatter_add_(0, small.clamp(max=CLASSES - 1)[None], torch.full((1, *size), 3.0))


class Replayed:
    """A head's forward that gives each window the part of a picture's logits where it lies."""

    def __init__(self, inputs: Tensor, logits: Tensor) -> None:
        self.inputs, self.logits = inputs, logits
        self._kept = {}

    def __call__(self, window: Tensor) -> Tensor:
        at = window.storage_offset() - self.inputs.storage_offset()
        if at not in self._kept:
            top, left = divmod(at, self.inputs.shape[-1])
            height, width = (length // 4 for length in window.shape[2:])
            here = self.logits[:, top // 4 :, left // 4 :][:, :height, :width]
            # The last windows may begin between two pixels of the logits.
            self._kept[at] = F.interpolate(here[None], (height, width))
        return self._kept[at]


def measure_evaluation(data_root: str, rounds: int) -> Table:
    """From the head's logits to labels and areas, all pictures of a folder."""
    from mmseg.evaluation import IoUMetric as PlainIoUMetric

    table = Table('mode', 'mmseg, ms', 'ours, ms', 'ratio', title='post-processing and IoU')
    pictures = list(load(data_root))
    for mode in TEST_CFGS:
        models = {name: build(mode, fast=name == 'ours') for name in ('mmseg', 'ours')}
        metrics = {'mmseg': PlainIoUMetric(), 'ours': IoUMetric()}
        for metric in metrics.values():
            metric.dataset_meta = dict(classes=[str(i) for i in range(CLASSES)])
        seconds = {name: [0.0] * rounds for name in models}
        for picture in pictures:
            for name, spent in measure_picture(picture, models, metrics, rounds).items():
                seconds[name] = [a + b for a, b in zip(seconds[name], spent)]
        results = {name: metric.evaluate(len(metric.results)) for name, metric in metrics.items()}
        if results['ours'] != results['mmseg']:
            sys.exit(f'{mode}: different metrics: {results}')
        both = ', '.join(f'{name} {value:.2f}' for name, value in results['ours'].items())
        add_row(table, f'{mode}, {len(pictures)} pictures; both {both}', seconds=seconds)
    return table


def measure_picture(picture: dict, models: dict, metrics: dict, rounds: int) -> dict:
    inputs = picture['inputs'][None].float()
    sample = picture['data_samples']
    forward = Replayed(inputs, likely_logits(sample.gt_sem_seg.data, inputs.shape[2:]))

    def way(name: str) -> Callable[[], None]:
        model, metric = models[name], metrics[name]
        model.extract_feat = lambda inputs: inputs
        model.decode_head.forward = forward

        def run() -> None:
            (predicted,) = model.predict(inputs, [sample.clone()])
            metric.process({}, [predicted.to_dict()])

        return run

    with torch.no_grad():
        return alternate({name: way(name) for name in models}, rounds)


def peak_gigabytes() -> float:
    # Not getrusage's, which begins with the parent's.
    (line,) = (
        line for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line
    )
    return int(line.split()[1]) / 2**20


def measure_peak(mode: str, fast: bool) -> None:
    """Print the peak of this process after one picture, and the seconds it took."""
    from mmseg.structures import SegDataSample

    model = build(mode, fast)
    before = peak_gigabytes()
    shape = (HEIGHT, WIDTH)
    sample = SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape, pad_shape=shape))
    picture = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    started = time.perf_counter()
    with torch.no_grad():
        model.test_step(dict(inputs=[picture], data_samples=[sample]))
    seconds = time.perf_counter() - started
    print(before, peak_gigabytes(), seconds)


def measure_peaks() -> Table:
    table = Table(
        *('mode', 'way', 'model loaded, GB', 'peak, GB', 'seconds'),
        title=f'one picture of {HEIGHT} × {WIDTH}, {CLASSES} classes, atto',
    )
    for mode in TEST_CFGS:
        for way in ('ours', 'mmseg'):
            command = [sys.executable, __file__, '--peak', mode, way]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            numbers = done.stdout.split() if done.returncode == 0 else ['nan'] * 3
            before, peak, seconds = (float(number) for number in numbers)
            table.add_row(mode, way, f'{before:.2f}', f'{peak:.2f}', f'{seconds:.0f}')
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', metavar='DIR', help="pictures in ADE20K's layout")
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--parts',
        nargs='+',
        choices=PARTS,
        default=PARTS,
        help='peaks take 10 GB and minutes, of mmseg',
    )
    parser.add_argument('--peak', nargs=2, metavar=('MODE', 'WAY'), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.simplefilter('ignore')  # mmseg's, of its own calls
    MMLogger.get_instance('mmengine', log_level='ERROR')
    init_default_scope('mmseg')
    if arguments.peak:
        measure_peak(arguments.peak[0], fast=arguments.peak[1] == 'ours')
        return
    console = Console(width=110)
    if 'loss' in arguments.parts:
        console.print(measure_loss(arguments.rounds))
    if 'evaluation' in arguments.parts and arguments.data_root:
        console.print(measure_evaluation(arguments.data_root, arguments.rounds))
    if 'peaks' in arguments.parts:
        console.print(measure_peaks())


if __name__ == '__main__':
    main()
