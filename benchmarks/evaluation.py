"""Time of COCO evaluation: mmconvnext's CocoMetric against mmdet's, which is on pycocotools.

Example:
    python benchmarks/evaluation.py

Seeded pictures with 8 objects of 80 classes and 100 detections with masks each. Both metrics take
in each picture in turn and evaluate twice in turn; all numbers are asserted equal.
"""

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MMLogger
from pycocotools import mask as mask_api
from rich.console import Console
from rich.table import Table

import mmconvnext  # noqa: F401  (makes mmdet importable)
from mmconvnext.analysis.benchmark.timing import seconds_of
from mmconvnext.detection import CocoMetric

HEIGHT, WIDTH, CLASSES, OBJECTS, DETECTIONS = 480, 640, 80, 8, 100


def ellipses(boxes: np.ndarray) -> np.ndarray:
    """Masks, (N, HEIGHT, WIDTH) bool, that fill boxes, (N, 4): x, y, width, height."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    x, y, width, height = (boxes[:, i, None, None] for i in range(4))
    return ((columns - x) / width * 2 - 1) ** 2 + ((rows - y) / height * 2 - 1) ** 2 <= 1


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    sizes = np.exp(generator.uniform(np.log(12), np.log(300), (count, 2)))
    places = generator.uniform(0, 1, (count, 2)) * np.maximum([WIDTH, HEIGHT] - sizes, 1)
    return np.hstack([places, sizes]).astype(np.float32)


def draw(number: int) -> tuple[list[dict], dict]:
    """A picture's annotations, and a prediction: three boxes near each object, others anywhere."""
    generator = np.random.default_rng(number)
    truth = random_boxes(generator, OBJECTS)
    labels = generator.integers(0, CLASSES, OBJECTS)
    crowds = generator.random(OBJECTS) < 0.02
    near = np.repeat(truth, 3, 0)
    shift = generator.uniform(-0.08, 0.08, near.shape).astype(np.float32)
    near += np.tile(near[:, 2:], 2) * shift
    boxes = np.vstack([near, random_boxes(generator, DETECTIONS - len(near))])
    others = generator.integers(0, CLASSES, DETECTIONS - len(near))
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


def write_truth(path: Path, pictures: int) -> None:
    content = dict(
        images=[dict(id=n, height=HEIGHT, width=WIDTH, file_name='') for n in range(pictures)],
        categories=[dict(id=n + 1, name=f'c{n}') for n in range(CLASSES)],
        annotations=[a for number in range(pictures) for a in draw(number)[0]],
    )
    path.write_text(json.dumps(content))


def compare(path: Path, pictures: int, kinds: list[str]) -> dict[str, list[float]]:
    """Seconds of taking in all pictures and of two evaluations, of each metric."""
    from mmdet.evaluation import CocoMetric as Stock

    metrics = {
        name: kind(str(path), metric=kinds, classwise=True)
        for name, kind in (('mmdet', Stock), ('mmconvnext', CocoMetric))
    }
    seconds, results = {name: [0.0] for name in metrics}, {}
    for metric in metrics.values():
        metric.dataset_meta = dict(classes=[f'c{n}' for n in range(CLASSES)])
    for number in range(pictures):
        _, sample = draw(number)
        for name, metric in metrics.items():
            seconds[name][0] += seconds_of(lambda _: metric.process({}, [sample]))  # noqa: B023

    def evaluate(name: str) -> None:
        results[name] = metrics[name].compute_metrics(metrics[name].results)

    for name in 2 * [*metrics]:
        seconds[name].append(seconds_of(lambda _, name=name: evaluate(name)))
    np.testing.assert_equal(results['mmconvnext'], results['mmdet'])  # nan included
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--pictures', type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    table = Table('metrics', 'of', 'taking in, s', 'evaluating, s', 'again, s')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'truth.json'
        write_truth(path, arguments.pictures)
        for kinds in (['bbox'], ['bbox', 'segm']):
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
                seconds = compare(path, arguments.pictures, kinds)
            for name, values in seconds.items():
                table.add_row(' + '.join(kinds), name, *(f'{value:.1f}' for value in values))
    Console(width=100).print(table)


if __name__ == '__main__':
    main()
