"""Around a segmentor: loss and accuracy, post-processing, peak memory; mmconvnext's and mmseg's.

Example:
    python benchmarks/segmentation.py --data-root data/ade/ADEChallengeData2016

The data are in ADE20K's layout; without them, post-processing is left out. Both ways run in turn in
one process, and a ratio is the median of those of each turn (mmseg's time over ours), with the
least and the largest. A peak is of a process of its own.
"""

import argparse
import math
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.analysis.benchmark.memory import MemoryMeter, high_water
from mmconvnext.analysis.benchmark.timing import seconds_of, time_rounds
from mmconvnext.segmentation import EncoderDecoder, FCNHead, IoUMetric

CONFIGS = Path(__file__).parents[1] / 'configs'
WAYS = ('mmseg', 'ours')
PARTS = ('loss', 'evaluation', 'peaks')
CLASSES = 150
TEST_CFGS = {
    'slide': dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
    'whole': dict(mode='whole'),
}
# 8 megapixels
HEIGHT, WIDTH = 2312, 3464


def add_row(table: Table, *what: str, seconds: dict[str, list[float]]) -> None:
    ratios = [theirs / ours for ours, theirs in zip(seconds['ours'], seconds['mmseg'])]
    table.add_row(
        *what,
        *(f'{statistics.median(seconds[name]) * 1000:.1f}' for name in WAYS),
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
        ways = {name: partial(step, logits, samples, name == 'ours') for name in WAYS}
        torch.testing.assert_close(*(way(0) for way in ways.values()), rtol=1e-3, atol=1e-9)
        sizes = f'{number} × {classes} × {low}²', f'{number} × {side}²'
        add_row(table, *sizes, seconds=time_rounds(ways, rounds=rounds))
    return table


def step(logits: Tensor, samples: list, fast: bool, _: int) -> Tensor:
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
    """The validation pictures as the test pipeline makes them, a batch each."""
    from mmseg.registry import DATASETS

    dataset = Config.fromfile(CONFIGS / '_base_/datasets/ade20k.py').val_dataloader.dataset
    dataset.data_root = data_root
    for picture in DATASETS.build(dataset):
        yield picture | dict(inputs=picture['inputs'][None].float())


def likely_logits(labels: Tensor, shape: tuple[int, int]) -> Tensor:
    """(C, height / 4, width / 4) of noise that is mostly right about labels (1, H, W)."""
    size = [length // 4 for length in shape]
    small = F.interpolate(labels[None].float(), size)[0, 0].long()
    logits = torch.randn(CLASSES, *size)
    return logits.scatter_add_(0, small.clamp(max=CLASSES - 1)[None], torch.full((1, *size), 3.0))


def replayed(picture: dict) -> Callable[[Tensor], Tensor]:
    """A head's forward that gives each window the part of a picture's logits where it lies."""
    inputs, kept = picture['inputs'], {}
    logits = likely_logits(picture['data_samples'].gt_sem_seg.data, inputs.shape[2:])

    def forward(window: Tensor) -> Tensor:
        at = window.storage_offset() - inputs.storage_offset()
        if at not in kept:
            top, left = divmod(at, inputs.shape[-1])
            height, width = (length // 4 for length in window.shape[2:])
            here = logits[:, top // 4 :, left // 4 :][:, :height, :width]
            # The last windows may begin between two pixels of the logits.
            kept[at] = F.interpolate(here[None], (height, width))
        return kept[at]

    return forward


def measure_evaluation(data_root: str, rounds: int) -> Table:
    """From the head's logits to labels and areas, all pictures of a folder."""
    from mmseg.evaluation import IoUMetric as PlainIoUMetric

    table = Table('mode', 'mmseg, ms', 'ours, ms', 'ratio', title='post-processing and IoU')
    pictures = list(load(data_root))
    for mode in TEST_CFGS:
        models = {name: build(mode, fast=name == 'ours') for name in WAYS}
        metrics = {'mmseg': PlainIoUMetric(), 'ours': IoUMetric()}
        for metric in metrics.values():
            metric.dataset_meta = dict(classes=[str(i) for i in range(CLASSES)])
        seconds = {name: [0.0] * rounds for name in WAYS}
        for picture in pictures:
            forward = replayed(picture)
            ways = {name: way(picture, forward, models[name], metrics[name]) for name in WAYS}
            with torch.no_grad():
                for name, spent in time_rounds(ways, rounds=rounds).items():
                    seconds[name] = [a + b for a, b in zip(seconds[name], spent)]
        results = {name: metric.evaluate(len(metric.results)) for name, metric in metrics.items()}
        if results['ours'] != results['mmseg']:
            sys.exit(f'{mode}: different metrics: {results}')
        both = ', '.join(f'{name} {value:.2f}' for name, value in results['ours'].items())
        add_row(table, f'{mode}, {len(pictures)} pictures; both {both}', seconds=seconds)
    return table


def way(
    picture: dict,
    forward: Callable[[Tensor], Tensor],
    model: EncoderDecoder,
    metric: BaseMetric,
) -> Callable[[int], None]:
    """A step that predicts a picture from a forward pass of the head, and takes it in."""
    model.extract_feat, model.decode_head.forward = lambda inputs: inputs, forward

    def run(_: int) -> None:
        (predicted,) = model.predict(picture['inputs'], [picture['data_samples'].clone()])
        metric.process({}, [predicted.to_dict()])

    return run


def measure_peak(mode: str, way: str, threads: int) -> tuple[float, float, float]:
    """GiB of this process with a model and at the peak of one picture, and the seconds it took."""
    from mmseg.structures import SegDataSample

    set_up(threads)
    model, shape = build(mode, way == 'ours'), (HEIGHT, WIDTH)
    before = high_water()
    sample = SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape, pad_shape=shape))
    picture = dict(inputs=[torch.randint(0, 256, (3, *shape), dtype=torch.uint8)])
    with torch.no_grad():
        seconds = seconds_of(lambda _: model.test_step(picture | dict(data_samples=[sample])))
    return before / 2**30, high_water() / 2**30, seconds


def measure_peaks(threads: int) -> Table:
    table = Table(
        *('mode', 'way', 'model loaded, GB', 'peak, GB', 'seconds'),
        title=f'one picture of {HEIGHT} × {WIDTH}, {CLASSES} classes, atto',
    )
    memory = MemoryMeter(start='spawn')
    for mode in TEST_CFGS:
        for way in ('ours', 'mmseg'):
            numbers = memory.run(measure_peak, mode, way, threads) or [math.nan] * 3
            table.add_row(mode, way, *('{:.2f} {:.2f} {:.0f}'.format(*numbers).split()))
    return table


def set_up(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warnings.simplefilter('ignore')  # mmseg's, of its own calls
    MMLogger.get_instance('mmengine', log_level='ERROR')
    init_default_scope('mmseg')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', metavar='DIR', help="pictures in ADE20K's layout")
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS,
                        help='peaks take 10 GB and minutes, of mmseg')  # fmt: skip
    arguments = parser.parse_args()
    set_up(arguments.threads)
    console = Console(width=110)
    if 'loss' in arguments.parts:
        console.print(measure_loss(arguments.rounds))
    if 'evaluation' in arguments.parts and arguments.data_root:
        console.print(measure_evaluation(arguments.data_root, arguments.rounds))
    if 'peaks' in arguments.parts:
        console.print(measure_peaks(arguments.threads))


if __name__ == '__main__':
    main()
