"""Around the models: loss, post-processing, metrics, peak memory; against mmseg's and mmdet's.

Example:
    python benchmarks/around_models.py loss peaks
    python benchmarks/around_models.py iou --data-root data/ade/ADEChallengeData2016
    python benchmarks/around_models.py coco --pictures 300

loss: forward and backward of a segmentor's loss and accuracy, from the head's logits on.
iou: from the head's logits to labels and areas, of all validation pictures in ADE20K's layout.
coco: mmdet's metric, on pycocotools, and ours take in seeded pictures and evaluate them twice.
peaks: memory of a process for each, of one picture in inference; of mmseg 10 GB, and minutes.

Both ways run in turn in one process, and their results are asserted equal. A ratio is theirs over
ours: the median of each turn's, with the least and the largest.
"""

import argparse
import contextlib
import io
import json
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from pycocotools import mask as mask_api
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from mmconvnext import detection
from mmconvnext.analysis.benchmark import figure
from mmconvnext.analysis.benchmark.case import Variant, measure_case
from mmconvnext.analysis.benchmark.memory import MemoryMeter, high_water
from mmconvnext.analysis.benchmark.step import Step, Tolerances
from mmconvnext.analysis.benchmark.timing import Timed, seconds_of, time_rounds
from mmconvnext.segmentation import EncoderDecoder, FCNHead, IoUMetric

CONFIGS = Path(__file__).parents[1] / 'configs'
CLASSES = 150
TEST_CFGS = {
    'slide': dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
    'whole': dict(mode='whole'),
}
PEAK_SHAPE = (2312, 3464)  # 8 megapixels
# Of a picture of COCO's.
HEIGHT, WIDTH, OBJECTS, DETECTIONS = 480, 640, 8, 100
COCO_NAMES = [f'c{n}' for n in range(80)]


def measure_loss(arguments: argparse.Namespace) -> Iterator[Table]:
    # Of the main head, of the auxiliary head, of the generated samples.
    for sizes in ((2, CLASSES, 128, 512), (2, CLASSES, 32, 512), (8, 6, 24, 96)):
        variants = [
            Variant('ours', partial(loss_step, sizes, fast=True)),
            Variant('mmseg', partial(loss_step, sizes, fast=False), 'mmseg'),
        ]
        title = 'loss and accuracy, logits {} × {} × {}², labels {}²'.format(*sizes)
        bounds = Tolerances(gradients=1e-3)
        options = dict(rounds=arguments.rounds, device='cpu', tolerances=bounds)
        yield figure.table(measure_case(title, variants, **options))


def loss_step(sizes: tuple[int, int, int, int], fast: bool) -> Step:
    from mmseg.structures import SegDataSample

    number, classes, low, side = sizes
    torch.manual_seed(0)
    labels = torch.randint(0, classes, (number, side, side))
    labels[torch.rand(labels.shape) < 0.1] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    logits = torch.randn(number, classes, low, low, requires_grad=True)
    head = FCNHead(in_channels=1, channels=1, num_classes=classes, fast=fast)

    def step(_: int) -> dict[str, Tensor]:
        losses = head.loss_by_feat(logits, samples)
        losses['acc_seg'].item()  # what the logger reads
        return {'gradient of logits': torch.autograd.grad(losses['loss_ce'], logits)[0]}

    return step


def take_in(pictures: Iterable[dict[str, Timed]], **rounds: int) -> dict[str, list[float]]:
    """Seconds of all pictures, of which each is a step by name."""
    spent = [time_rounds(ways, **rounds) for ways in pictures]
    return {name: [sum(x) for x in zip(*(one[name] for one in spent))] for name in spent[0]}


def add_row(table: Table, what: str, seconds: dict[str, list[float]]) -> None:
    theirs, ours = seconds.values()
    ratios = [a / b for a, b in zip(theirs, ours)]
    table.add_row(
        what,
        *(f'{1e3 * statistics.median(x):,.1f}' for x in (theirs, ours)),
        f'{statistics.median(ratios):.1f} ({min(ratios):.1f}…{max(ratios):.1f})',
    )


def measure_iou(arguments: argparse.Namespace) -> Iterator[Table]:
    from mmseg.evaluation import IoUMetric as Stock
    from mmseg.registry import DATASETS

    dataset = Config.fromfile(CONFIGS / '_base_/datasets/ade20k.py').val_dataloader.dataset
    dataset.data_root = arguments.data_root
    # A batch each, as the test pipeline makes them.
    pictures = [one | dict(inputs=one['inputs'][None].float()) for one in DATASETS.build(dataset)]
    table = Table('mode', 'mmseg, ms', 'ours, ms', 'ratio', title='post-processing and IoU')
    for mode in TEST_CFGS:
        models = {name: build(mode, fast=name == 'ours') for name in ('mmseg', 'ours')}
        metrics = {'mmseg': Stock(), 'ours': IoUMetric()}
        for metric in metrics.values():
            metric.dataset_meta = dict(classes=[str(i) for i in range(CLASSES)])
        steps = (
            {name: predict_step(one, forward, models[name], metrics[name]) for name in models}
            for one, forward in ((one, replayed(one)) for one in pictures)
        )
        with torch.no_grad():
            seconds = take_in(steps, rounds=arguments.rounds)
        theirs, ours = (metric.evaluate(len(metric.results)) for metric in metrics.values())
        np.testing.assert_equal(ours, theirs)
        both = ', '.join(f'{name} {value:.2f}' for name, value in ours.items())
        add_row(table, f'{mode}, {len(pictures)} pictures; both {both}', seconds)
    yield table


def build(mode: str, fast: bool) -> EncoderDecoder:
    """The atto model with ADE20K's classes, untrained."""
    from mmseg.registry import MODELS

    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py').model
    config.decode_head.update(type='mmconvnext.UPerHead', num_classes=CLASSES)
    config.update(type='mmconvnext.EncoderDecoder', fast=fast, test_cfg=TEST_CFGS[mode])
    return MODELS.build(ConfigDict(config)).eval()


def replayed(picture: dict) -> Callable[[Tensor], Tensor]:
    """A head's forward that gives each window its part of a picture's logits at a quarter.

    They are noise that is mostly right about the labels.
    """
    inputs, kept = picture['inputs'], {}
    size = [length // 4 for length in inputs.shape[2:]]
    labels = picture['data_samples'].gt_sem_seg.data[None].float()
    small = F.interpolate(labels, size)[0, 0].long().clamp(max=CLASSES - 1)
    logits = torch.randn(CLASSES, *size)
    logits.scatter_add_(0, small[None], torch.full((1, *size), 3.0))

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


def predict_step(
    picture: dict, forward: Callable[[Tensor], Tensor], model: EncoderDecoder, metric: IoUMetric
) -> Timed:
    """Predicts a picture from a forward pass of the head, and takes it in."""
    model.extract_feat, model.decode_head.forward = lambda inputs: inputs, forward

    def step(_: int) -> None:
        (predicted,) = model.predict(picture['inputs'], [picture['data_samples'].clone()])
        metric.process({}, [predicted.to_dict()])

    return step


def measure_coco(arguments: argparse.Namespace) -> Iterator[Table]:
    table = Table('metrics', 'mmdet, ms', 'ours, ms', 'ratio', title='COCO evaluation')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'truth.json'
        write_truth(path, arguments.pictures)
        for kinds in (['bbox'], ['bbox', 'segm']):
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
                seconds = compare_coco(path, kinds, arguments.pictures)
            for what, spent in seconds.items():
                add_row(table, f'{" + ".join(kinds)}, {what}', spent)
    yield table


def compare_coco(path: Path, kinds: list[str], pictures: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each metric, by what it does, with the file of the truth."""
    from mmdet.evaluation import CocoMetric as Stock

    metrics, results = {}, {}
    for name, metric in (('mmdet', Stock), ('ours', detection.CocoMetric)):
        metrics[name] = metric(str(path), metric=kinds, classwise=True)
        metrics[name].dataset_meta = dict(classes=COCO_NAMES)

    def process(name: str, sample: dict, _: int) -> None:
        metrics[name].process({}, [sample])

    def evaluate(name: str, _: int) -> None:
        results[name] = metrics[name].compute_metrics(metrics[name].results)

    samples = (draw(number)[1] for number in range(pictures))
    steps = ({name: partial(process, name, one) for name in metrics} for one in samples)
    spent = take_in(steps, rounds=1, warm_up=0)
    twice = time_rounds({n: partial(evaluate, n) for n in metrics}, rounds=2, warm_up=0)
    np.testing.assert_equal(results['ours'], results['mmdet'])  # nan included
    first, again = ({name: [x[i]] for name, x in twice.items()} for i in range(2))
    return {'taking in': spent, 'evaluating': first, 'again': again}


def write_truth(path: Path, pictures: int) -> None:
    content = dict(
        images=[dict(id=n, height=HEIGHT, width=WIDTH, file_name='') for n in range(pictures)],
        categories=[dict(id=n, name=name) for n, name in enumerate(COCO_NAMES, 1)],
        annotations=[a for number in range(pictures) for a in draw(number)[0]],
    )
    path.write_text(json.dumps(content))


def draw(number: int) -> tuple[list[dict], dict]:
    """A picture's annotations, and a prediction: three boxes near each object, others anywhere."""
    generator = np.random.default_rng(number)
    truth = random_boxes(generator, OBJECTS)
    labels = generator.integers(0, len(COCO_NAMES), OBJECTS)
    crowds = generator.random(OBJECTS) < 0.02
    near = np.repeat(truth, 3, 0)
    shift = generator.uniform(-0.08, 0.08, near.shape).astype(np.float32)
    near += np.tile(near[:, 2:], 2) * shift
    boxes = np.vstack([near, random_boxes(generator, DETECTIONS - len(near))])
    others = generator.integers(0, len(COCO_NAMES), DETECTIONS - len(near))
    found = dict(
        bboxes=torch.from_numpy(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])),
        labels=torch.from_numpy(np.hstack([np.repeat(labels, 3), others])),
        scores=torch.from_numpy(np.sort(generator.random(DETECTIONS).astype('f4'))[::-1].copy()),
        masks=torch.from_numpy(ellipses(boxes)),
    )
    annotations = []
    for box, label, crowd, mask in zip(truth, labels, crowds, ellipses(truth)):
        encoded = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        one = dict(id=number * OBJECTS + len(annotations) + 1, image_id=number)
        one |= dict(category_id=int(label) + 1, bbox=box.tolist(), iscrowd=int(crowd))
        one['segmentation'] = dict(encoded, counts=encoded['counts'].decode())
        annotations.append(one | dict(area=float(mask_api.area(encoded))))
    return annotations, dict(img_id=number, ori_shape=(HEIGHT, WIDTH), pred_instances=found)


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    sizes = np.exp(generator.uniform(np.log(12), np.log(300), (count, 2)))
    places = generator.uniform(0, 1, (count, 2)) * np.maximum([WIDTH, HEIGHT] - sizes, 1)
    return np.hstack([places, sizes]).astype(np.float32)


def ellipses(boxes: np.ndarray) -> np.ndarray:
    """Masks, (N, HEIGHT, WIDTH) bool, that fill boxes, (N, 4): x, y, width, height."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    x, y, width, height = (boxes[:, i, None, None] for i in range(4))
    return ((columns - x) / width * 2 - 1) ** 2 + ((rows - y) / height * 2 - 1) ** 2 <= 1


def measure_peaks(arguments: argparse.Namespace) -> Iterator[Table]:
    table = Table(
        *('mode', 'way', 'model loaded, GB', 'peak, GB', 'seconds'),
        title='one picture of {} × {}, {} classes, atto'.format(*PEAK_SHAPE, CLASSES),
    )
    memory = MemoryMeter(start='spawn')
    for mode in TEST_CFGS:
        for way in ('ours', 'mmseg'):
            numbers = memory.run(peak, mode, way, arguments.threads) or [math.nan] * 3
            table.add_row(mode, way, *('{:.2f} {:.2f} {:.0f}'.format(*numbers).split()))
    yield table


def peak(mode: str, way: str, threads: int) -> tuple[float, float, float]:
    """GiB of this process with a model and at the peak of one picture, and the seconds it took."""
    from mmseg.structures import SegDataSample

    set_up(threads)
    model = build(mode, way == 'ours')
    before = high_water()
    shapes = dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), PEAK_SHAPE)
    picture = dict(
        inputs=[torch.randint(0, 256, (3, *PEAK_SHAPE), dtype=torch.uint8)],
        data_samples=[SegDataSample(metainfo=shapes)],
    )
    with torch.no_grad():
        seconds = seconds_of(lambda _: model.test_step(picture))
    return before / 2**30, high_water() / 2**30, seconds


def set_up(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warnings.simplefilter('ignore')  # mmseg's, of its own calls
    MMLogger.get_instance('mmengine', log_level='ERROR')
    init_default_scope('mmseg')


PARTS = {'loss': measure_loss, 'iou': measure_iou, 'coco': measure_coco, 'peaks': measure_peaks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('parts', nargs='+', choices=PARTS)
    parser.add_argument('--data-root', metavar='DIR', help='iou: the pictures')
    parser.add_argument('--pictures', type=int, default=500, help='coco: how many')
    parser.add_argument('--rounds', type=int, default=9, help='of loss and iou')
    parser.add_argument('--threads', type=int, default=1)
    arguments = parser.parse_args()
    if 'iou' in arguments.parts and not arguments.data_root:
        parser.error('iou: expected --data-root')
    set_up(arguments.threads)
    for part in arguments.parts:
        for table in PARTS[part](arguments):
            Console(width=110).print(table)


if __name__ == '__main__':
    main()
