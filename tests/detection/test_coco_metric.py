"""Our CocoMetric against mmdet's, and where mmdet's fails."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric as MMDetCocoMetric
from mmdet.registry import METRICS as MMDET_METRICS
from mmengine.evaluator import Evaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmconvnext.detection import CocoMetric, coco_metric
from mmconvnext.errors import ArgumentError, UserError
from mmconvnext.registry import METRICS

HEIGHT, WIDTH = 150, 200
# Gaps in the ids, and a class of the file that the dataset leaves out.
CATEGORIES = [
    dict(id=2, name='cat'),
    dict(id=3, name='ignored'),
    dict(id=7, name='dog'),
    dict(id=31, name='never seen'),
    dict(id=90, name='bird'),
]
CLASSES = ('cat', 'dog', 'never seen', 'bird')
IDS = [2, 7, 31, 90]
PICTURES = [11, 5, 402, 77, 8, 9, 1000, 13]
NO_TRUTH, NO_DETECTION = 402, 77
AP_KEYS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def ellipse(x: float, y: float, width: float, height: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    across, down = (columns - x) / width * 2 - 1, (rows - y) / height * 2 - 1
    return across**2 + down**2 <= 1


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.ravel(order='F')
    ends = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    counts = np.diff(ends, prepend=0, append=flat.size).tolist()
    return dict(size=[HEIGHT, WIDTH], counts=[0, *counts] if flat[0] else counts)


def polygon(x: float, y: float, width: float, height: float) -> list[list[float]]:
    """An ellipse in two halves, so that they have to be merged."""
    angles = np.linspace([0, np.pi], [np.pi, 2 * np.pi], 20, axis=1)
    across, down = x + width / 2 * (1 + np.cos(angles)), y + height / 2 * (1 + np.sin(angles))
    return np.stack([across, down], axis=-1).reshape(2, -1).tolist()


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) of x, y, width, height; from small to large in COCO's sense."""
    sizes = np.exp(generator.uniform(np.log(8), np.log(140), (count, 2)))
    places = generator.uniform(0, 1, (count, 2)) * np.maximum([WIDTH, HEIGHT] - sizes, 1)
    return np.hstack([places, sizes])


def annotations_of(generator: np.random.Generator, picture: int) -> list[dict]:
    count = 0 if picture == NO_TRUTH else 9
    categories = generator.choice([2, 2, 3, 7, 90], count)
    annotations = []
    for place, box in enumerate(random_boxes(generator, count)):
        crowd = place % 4 == 3
        mask = ellipse(*box)
        annotations.append(
            dict(
                image_id=picture,
                category_id=int(categories[place]),
                bbox=box.tolist(),
                iscrowd=int(crowd),
                area=float(mask.sum()),
                segmentation=uncompressed(mask) if crowd else polygon(*box),
            )
        )
    return annotations


def write_truth(path: Path, **changes: object) -> Path:
    generator = np.random.default_rng(0)
    annotations = [a for picture in PICTURES for a in annotations_of(generator, picture)]
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    images = [dict(id=p, height=HEIGHT, width=WIDTH, file_name=f'{p}.jpg') for p in PICTURES]
    truth = dict(images=images, categories=CATEGORIES, annotations=annotations)
    path.write_text(json.dumps({**truth, **changes}))
    return path


@pytest.fixture(scope='module')
def ann_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_truth(tmp_path_factory.mktemp('coco') / 'instances.json')


def prediction(boxes: np.ndarray, labels: list[int], scores: np.ndarray) -> dict:
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    masks = np.array([ellipse(*box) for box in boxes]).reshape(-1, HEIGHT, WIDTH)
    return dict(
        bboxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.tensor(scores, dtype=torch.float32),
        masks=torch.from_numpy(masks),
    )


def predictions(ann_file: Path, detections: int = 170) -> list[dict]:
    """Data samples: jittered ground truth, right and wrong labels, equal scores, and noise."""
    truth = json.loads(ann_file.read_text())['annotations']
    generator = np.random.default_rng(1)
    samples = []
    for picture in PICTURES:
        boxes = np.array([a['bbox'] for a in truth if a['image_id'] == picture]).reshape(-1, 4)
        ids = [a['category_id'] for a in truth if a['image_id'] == picture]
        labels = [IDS.index(i) if i in IDS else 3 for i in ids] * 2
        boxes = np.vstack([boxes, boxes])
        boxes += np.tile(boxes[:, 2:], 2) * generator.uniform(-0.06, 0.06, boxes.shape)
        scores = generator.uniform(0.05, 1, len(boxes))
        noise = detections - len(boxes)
        labels += generator.choice(4, noise, p=[0.85, 0.05, 0.05, 0.05]).tolist()
        boxes = np.vstack([boxes, random_boxes(generator, noise)])
        scores = np.round(np.hstack([scores, generator.uniform(0, 0.6, noise)]), 2)
        keep = 0 if picture == NO_DETECTION else len(boxes)
        samples.append(sample(picture, prediction(boxes[:keep], labels[:keep], scores[:keep])))
    return samples


def sample(picture: int | str, found: dict, **more: object) -> dict:
    return dict(img_id=picture, ori_shape=(HEIGHT, WIDTH), pred_instances=found, **more)


def nothing(picture: int | str = PICTURES[0], **more: object) -> dict:
    return sample(picture, prediction(np.zeros((0, 4)), [], np.zeros(0)), **more)


def evaluate(kind: type, samples: list[dict], classes: tuple = CLASSES, **options: object) -> dict:
    metric = kind(**options)
    metric.dataset_meta = dict(classes=classes)
    for start in range(0, len(samples), 2):
        metric.process({}, samples[start : start + 2])
    return metric.evaluate(len(samples))


def both(samples: list[dict], **options: object) -> tuple[dict, dict]:
    ours = evaluate(CocoMetric, samples, **options)
    return ours, evaluate(MMDetCocoMetric, samples, **options)


def assert_equal(ours: dict, theirs: dict) -> None:
    assert list(ours) == list(theirs)
    assert len(ours) > 0
    for key in ours:
        assert ours[key] == pytest.approx(theirs[key], abs=1e-6, nan_ok=True), key


@pytest.mark.parametrize(
    'options',
    [
        dict(metric=['bbox', 'segm'], classwise=True),
        dict(metric='segm', classwise=True, proposal_nums=(1, 10, 100)),
        dict(metric='bbox', metric_items=['AR@1000', 'AR_s@1000', 'mAP_l', 'mAP']),
        dict(metric='bbox', iou_thrs=np.array([0.5, 0.75])),
        dict(metric=['proposal', 'bbox']),
        dict(metric='proposal', metric_items=['AR@300', 'mAP'], proposal_nums=(100, 1, 10)),
    ],
    ids=lambda options: '-'.join(map(str, options)),
)
def test_matches_pycocotools(ann_file: Path, options: dict) -> None:
    ours, theirs = both(predictions(ann_file), ann_file=str(ann_file), **options)
    assert_equal(ours, theirs)
    assert 0 < np.nanmin(list(ours.values())) < np.nanmax(list(ours.values())) < 1


def test_matches_pycocotools_with_ground_truth_of_the_samples(ann_file: Path) -> None:
    truth = json.loads(ann_file.read_text())['annotations']
    samples = predictions(ann_file)
    for data_sample in samples:
        data_sample['instances'] = [
            dict(
                bbox=[x, y, x + width, y + height],
                bbox_label=IDS.index(a['category_id']),
                ignore_flag=a['iscrowd'],
                mask=a['segmentation'],
            )
            for a in truth
            if a['image_id'] == data_sample['img_id'] and a['category_id'] in IDS
            for x, y, width, height in [a['bbox']]
        ]
    ours, theirs = both(samples, metric=['bbox', 'segm'], classwise=True)
    assert_equal(ours, theirs)
    assert ours['coco/segm_mAP'] > 0.1


def test_matches_pycocotools_with_scores_of_masks(ann_file: Path) -> None:
    samples = predictions(ann_file)
    for data_sample in samples:
        found = data_sample['pred_instances']
        found['mask_scores'] = found['scores'].flip(0)
    ours, theirs = both(samples, metric=['bbox', 'segm'], ann_file=str(ann_file))
    assert_equal(ours, theirs)
    plain = evaluate(CocoMetric, predictions(ann_file), metric='segm', ann_file=str(ann_file))
    assert plain['coco/segm_mAP'] != ours['coco/segm_mAP']


def test_matches_pycocotools_past_a_hundred_detections(ann_file: Path) -> None:
    truth = json.loads(ann_file.read_text())['annotations']
    boxes = np.array([a['bbox'] for a in truth if a['category_id'] == 2 and a['image_id'] == 11])
    boxes = np.vstack([np.tile([0.0, 0, 3, 3], (100, 1)), boxes])
    samples = [sample(11, prediction(boxes, [0] * len(boxes), np.linspace(1, 0.1, len(boxes))))]
    ours, theirs = both(samples, ann_file=str(ann_file), classwise=True)
    assert_equal(ours, theirs)
    # mAP is of the best 100 of an image and class, the others of proposal_nums' 1000.
    assert ours['coco/bbox_mAP'] == 0 < ours['coco/bbox_mAP_50']
    found = evaluate(CocoMetric, samples, ann_file=str(ann_file), proposal_nums=(1, 10, 1000))
    assert found['coco/bbox_mAP'] > 0


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_unrounded_curves_match_pycocotools(
    ann_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    curves = []
    report = CocoMetric._report

    def spy(self: CocoMetric, metric: str, measured: coco_metric.Curves) -> dict:
        curves.append(measured)
        return report(self, metric, measured)

    monkeypatch.setattr(CocoMetric, '_report', spy)
    options = dict(ann_file=str(ann_file), metric=kind, outfile_prefix=str(tmp_path / 'r'))
    evaluate(CocoMetric, predictions(ann_file), **options)
    truth = COCO(str(ann_file))
    rows = json.loads((tmp_path / f'r.{kind}.json').read_text())
    if kind == 'segm':  # or pycocotools takes the area of the box
        rows = [{key: row[key] for key in row if key != 'bbox'} for row in rows]
    oracle = COCOeval(truth, truth.loadRes(rows), kind)
    oracle.params.catIds, oracle.params.maxDets = IDS, [100, 300, 1000]
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    assert np.abs(curves[0].precision - oracle.eval['precision']).max() < 1e-6
    assert np.abs(curves[0].recall - oracle.eval['recall']).max() < 1e-6
    ours = [curves[0].summary(item) for item in coco_metric.SUMMARY]
    assert ours == pytest.approx(oracle.stats, abs=1e-9)


def test_results2json_is_mmdet_s_and_pycocotools_loads_it(ann_file: Path, tmp_path: Path) -> None:
    options = dict(ann_file=str(ann_file), metric=['bbox', 'segm'], format_only=True)
    for name, kind in dict(ours=CocoMetric, theirs=MMDetCocoMetric).items():
        prefix = str(tmp_path / name / 'r')
        assert evaluate(kind, predictions(ann_file), outfile_prefix=prefix, **options) == {}
    for file in ('r.bbox.json', 'r.segm.json'):
        ours, theirs = (json.loads((tmp_path / n / file).read_text()) for n in ('ours', 'theirs'))
        assert ours == theirs
        loaded = COCO(str(ann_file)).loadRes(str(tmp_path / 'ours' / file))
        assert len(loaded.anns) == len(ours) == 170 * (len(PICTURES) - 1)
        assert {row['category_id'] for row in ours} == set(IDS)


def test_encodes_masks_as_mmdet_does() -> None:
    from mmdet.structures.mask import encode_mask_results

    masks = torch.rand(5, 17, 23) > 0.6
    masks[3:] = torch.tensor([False, True])[:, None, None]
    for kind in (torch.bool, torch.uint8, torch.int64):
        assert coco_metric.encode_masks(masks.to(kind)) == encode_mask_results(masks.numpy())
    assert coco_metric.encode_masks(masks[:0]) == []


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_no_detection_at_all_is_zero(ann_file: Path, metric: str) -> None:
    samples = [nothing(picture) for picture in PICTURES]
    options = dict(ann_file=str(ann_file), metric=metric, classwise=True)
    ours, theirs = both(samples, **options)
    assert theirs == {}
    names = {f'coco/{name}_precision': 0.0 for name in CLASSES}
    missing = ours.pop('coco/never seen_precision')
    assert math.isnan(missing)
    del names['coco/never seen_precision']
    assert ours == names | {f'coco/{metric}_{key}': 0.0 for key in AP_KEYS}


def test_no_ground_truth_at_all_is_minus_one(tmp_path: Path, ann_file: Path) -> None:
    bare = write_truth(tmp_path / 'bare.json', annotations=[])
    options = dict(metric=['bbox', 'segm'], classwise=True, ann_file=str(bare))
    ours, theirs = both(predictions(ann_file), **options)
    assert_equal(ours, theirs)
    assert ours['coco/segm_mAP'] == -1
    assert math.isnan(ours['coco/cat_precision'])
    found = evaluate(CocoMetric, [nothing(instances=[])], metric='bbox')
    assert found == {f'coco/bbox_{key}': -1 for key in AP_KEYS}


def test_an_annotation_may_have_the_id_0(tmp_path: Path, ann_file: Path) -> None:
    """pycocotools, and so mmdet, would count a match with it as none."""
    content = json.loads(ann_file.read_text())
    expected = evaluate(CocoMetric, predictions(ann_file), ann_file=str(ann_file), metric='bbox')
    for number, annotation in enumerate(content['annotations']):
        annotation['id'] = number
    (tmp_path / 'zero.json').write_text(json.dumps(content))
    options = dict(ann_file=str(tmp_path / 'zero.json'), metric='bbox')
    assert evaluate(CocoMetric, predictions(ann_file), **options) == expected


def test_no_picture_at_all_is_minus_one() -> None:
    metric = CocoMetric(metric='bbox')
    metric.dataset_meta = dict(classes=CLASSES)
    assert metric.compute_metrics([]) == {f'bbox_{key}': -1 for key in AP_KEYS}


def test_evaluates_again_each_epoch(ann_file: Path) -> None:
    metric = CocoMetric(str(ann_file), metric=['segm', 'bbox'])
    metric.dataset_meta = dict(classes=CLASSES)
    epochs = []
    for _ in range(2):
        metric.process({}, predictions(ann_file))
        epochs.append(metric.evaluate(len(PICTURES)))
        metric.process({}, [nothing(picture) for picture in PICTURES])
        assert set(metric.evaluate(len(PICTURES)).values()) == {0.0}
    assert epochs[0] == epochs[1]
    assert epochs[0]['coco/bbox_mAP'] > 0.1


def test_names_classes_where_the_json_is_not_in_the_order_of_ids(
    ann_file: Path, tmp_path: Path
) -> None:
    samples = predictions(ann_file)
    expected = evaluate(CocoMetric, samples, ann_file=str(ann_file), classwise=True)
    mixed = write_truth(tmp_path / 'mixed.json', categories=CATEGORIES[::-1])
    for data_sample in samples:  # as CocoDataset numbers classes: by the order of the json
        found = data_sample['pred_instances']
        found['labels'] = 3 - found['labels']
    ours, theirs = both(samples, ann_file=str(mixed), classwise=True)
    assert ours == pytest.approx(expected, nan_ok=True)
    # mmdet's mistake, and the reason why this deviates from it.
    assert theirs['coco/bird_precision'] == ours['coco/cat_precision']


def test_matches_pycocotools_with_named_pictures(ann_file: Path, tmp_path: Path) -> None:
    truth = json.loads(ann_file.read_text())
    images = [{**image, 'id': f'p{image["id"]:04d}'} for image in truth['images']]
    annotations = [{**a, 'image_id': f'p{a["image_id"]:04d}'} for a in truth['annotations']]
    named = write_truth(tmp_path / 'named.json', images=images, annotations=annotations)
    samples = predictions(ann_file)
    for data_sample in samples:
        data_sample['img_id'] = f'p{data_sample["img_id"]:04d}'
    assert_equal(*both(samples, ann_file=str(named), metric=['bbox', 'segm', 'proposal']))


def test_thresholds_may_be_a_list_or_a_number(ann_file: Path) -> None:
    options = dict(ann_file=str(ann_file), metric='bbox')
    samples = predictions(ann_file)
    usual = evaluate(CocoMetric, samples, **options)
    found = evaluate(CocoMetric, samples, iou_thrs=[0.5, 0.6], **options)
    assert found['coco/bbox_mAP_50'] == usual['coco/bbox_mAP_50'] > 0
    assert found['coco/bbox_mAP_75'] == -1
    assert (
        evaluate(CocoMetric, samples, iou_thrs=0.75, **options)['coco/bbox_mAP_75']
        == (usual['coco/bbox_mAP_75'])
    )


def test_proposal_fast_matches_mmdet(ann_file: Path, tmp_path: Path) -> None:
    # Images of equally many boxes: numpy refuses mmdet's arrays of any others.
    images = json.loads(ann_file.read_text())['images']
    images = [i for i in images if i['id'] not in (NO_TRUTH, NO_DETECTION)]
    path = write_truth(tmp_path / 'even.json', images=images)
    samples = [s for s in predictions(ann_file) if s['img_id'] not in (NO_TRUTH, NO_DETECTION)]
    options = dict(metric='proposal_fast', proposal_nums=(1, 5, 100), ann_file=str(path))
    ours, theirs = both(samples, **options)
    assert_equal(ours, theirs)
    assert list(ours) == ['coco/AR@1', 'coco/AR@5', 'coco/AR@100']
    assert 0 < ours['coco/AR@1'] < ours['coco/AR@100'] < 1


def test_proposal_fast_of_any_pictures(ann_file: Path, tmp_path: Path) -> None:
    samples = predictions(ann_file)
    options = dict(ann_file=str(ann_file), metric='proposal_fast', proposal_nums=[0, 1000])
    found = evaluate(CocoMetric, samples, iou_thrs=0.5, **options)
    # Every true box has a detection of nearly its size, save those of the image without any.
    assert found == {'coco/AR@0': 0, 'coco/AR@1000': pytest.approx(1 - 1 / 7)}
    assert evaluate(CocoMetric, samples[::-1], iou_thrs=0.5, **options) == found
    bare = write_truth(tmp_path / 'bare.json', annotations=[])
    found = evaluate(CocoMetric, samples, **{**options, 'ann_file': str(bare)})
    assert found == {'coco/AR@0': -1, 'coco/AR@1000': -1}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(metric_items=['mAP_90']), r'metric_items: expected some of mAP, .*, got mAP_90'),
        (dict(proposal_nums=(100,)), r'proposal_nums: expected three numbers .* got \[100\]'),
    ],
)
def test_refuses_options_before_testing(ann_file: Path, options: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        CocoMetric(ann_file=str(ann_file), **options)


def change_labels(found: dict) -> None:
    found['labels'] = found['labels'] + 1


def drop_masks(found: dict) -> None:
    del found['masks']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (change_labels, r'expected labels below 4, .*, got 4'),
        (drop_masks, r'segm: expected a mask for each of 170 detections, got 0'),
    ],
)
def test_refuses_predictions(ann_file: Path, change: Callable[[dict], None], message: str) -> None:
    samples = predictions(ann_file)
    for data_sample in samples:
        change(data_sample['pred_instances'])
    with pytest.raises(ArgumentError, match=message):
        evaluate(CocoMetric, samples, ann_file=str(ann_file), metric='segm')


def test_refuses_other_pictures_classes_and_annotations(ann_file: Path, tmp_path: Path) -> None:
    samples = predictions(ann_file)
    found = samples[0]['pred_instances']
    with pytest.raises(ArgumentError, match=r'expected images of ann_file, got image id 6;'):
        evaluate(CocoMetric, [sample(6, found)], ann_file=str(ann_file))
    with pytest.raises(ArgumentError, match=r"expected categories \['car'\], .* got \['cat', "):
        evaluate(CocoMetric, samples, ann_file=str(ann_file), classes=('car',))
    annotation = json.loads(ann_file.read_text())['annotations'][0]
    for key, name in dict(segmentation='a segmentation', area='an area').items():
        rest = {k: v for k, v in annotation.items() if k != key} | dict(category_id=2)
        path = write_truth(tmp_path / f'{key}.json', annotations=[rest])
        with pytest.raises(ArgumentError, match=f'expected {name} in annotation 1, got none'):
            evaluate(CocoMetric, samples, ann_file=str(path), metric='segm')


def test_says_what_to_install(ann_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_metric, 'faster_coco_eval', None)
    with pytest.raises(UserError, match='pip install faster-coco-eval'):
        CocoMetric(ann_file=str(ann_file))


def test_table_of_classes(ann_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmengine.logging import MMLogger

    lines = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, line: lines.append(line))
    values = evaluate(CocoMetric, predictions(ann_file), ann_file=str(ann_file), classwise=True)
    (table,) = [line for line in lines if line.startswith('bbox of each class')]
    cells = [[cell.strip() for cell in row.split('|')[1:-1]] for row in table.splitlines()]
    header, *rows = [row for row in cells if row]
    assert header == ['class', 'AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large']
    assert [row[0] for row in rows] == list(CLASSES)
    assert rows[2][1:] == ['nan'] * 6
    assert float(rows[0][1]) == values['coco/cat_precision'] > 0


@pytest.mark.parametrize('registry', [METRICS, MMDET_METRICS])
def test_builds_by_name(ann_file: Path, registry: object) -> None:
    built = registry.build(dict(type='mmconvnext.CocoMetric', ann_file=str(ann_file)))
    assert type(built) is CocoMetric
    assert MMDET_METRICS.get('CocoMetric') is MMDetCocoMetric
    evaluator = Evaluator(dict(type='mmconvnext.CocoMetric', ann_file=str(ann_file)))
    assert type(evaluator.metrics[0]) is CocoMetric
