"""One broken file at a time, loaded as in a training: one line names the file and the fault."""

import copy
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations as LoadCocoAnnotations
from mmdet.evaluation.metrics import coco_metric
from mmdet.models.dense_heads import AnchorHead
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, METRICS, DefaultScope
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmconvnext.command_line.overrides import override
from mmconvnext.command_line.unusable_files import name_unusable_files
from mmconvnext.data.coco_file import read_coco, require_classes
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS
from tests.test_tools import assert_one_line_error

PATCHED = (
    (LoadImageFromFile, 'transform'),
    (BaseDataset, '_serialize_data'),
    (LoadAnnotations, '_load_seg_map'),
    (CocoDataset, 'load_data_list'),
    (LoadCocoAnnotations, 'transform'),
    (coco_metric, 'COCO'),
    (AnchorHead, '_get_targets_single'),
)
IMAGE = 'images/training/training_0000.jpg'
LABELS = 'annotations/training/training_0000.png'
JSON = 'annotations/instances_train2017.json'


@pytest.fixture(autouse=True)
def unpatched_after(monkeypatch) -> None:
    for owner, name in PATCHED:
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.fixture
def segmentation(samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(samples, tmp_path / 'set'))


@pytest.fixture(scope='module')
def detection_samples(tmp_path_factory) -> Path:
    return write_detection_samples(tmp_path_factory.mktemp('det') / 'set', training=3, validation=1)


@pytest.fixture
def detection(detection_samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(detection_samples, tmp_path / 'set'))


@functools.cache
def read_config(kind: str) -> Config:
    return Config.fromfile(CONFIGS / f'{kind}_convnext_atto_samples.py')


def first_item(root: Path, split: str = 'train', **options: object) -> Any:
    kind = 'mask_rcnn' if (root / JSON).exists() else 'upernet'
    config = copy.deepcopy(read_config(kind))
    override(config, {'data_root': str(root)})
    name_unusable_files(config)
    name_unusable_files(config)
    dataset = config[f'{split}_dataloader'].dataset
    dataset.pipeline = [step for step in dataset.pipeline if step.type != 'RandomFlip']
    dataset.pipeline[0].update(options)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return DATASETS.build(dataset)[0]


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, format='PNG')


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path: Path) -> None:
    """The header of 60,000 × 60,000 pixels."""
    content = bytearray(path.read_bytes())
    content[16:24] = (60000).to_bytes(4, 'big') * 2
    path.write_bytes(content)


BROKEN_LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    'missing': (Path.unlink, r'expected a readable label map \(.*No such file'),
    'cut': (cut, r'expected a readable label map \(.*truncated'),
    'empty': (lambda path: path.write_bytes(b''), 'expected a readable label map'),
    'bomb': (bomb, 'expected a readable label map'),
    'size': (lambda path: write(path, np.zeros((32, 48), np.uint8)), 'expected 64 × 64 pixels, '),
    'colours': (lambda path: write(path, np.zeros((64, 64, 3), np.uint8)), 'got 3 channels'),
    'wide': (lambda path: write(path, np.full((64, 64), 257, np.uint16)), 'to 255, got 257, which'),
}


@pytest.mark.parametrize('kind', BROKEN_LABELS)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_broken_labels(kind: str, segmentation: Path) -> None:
    change, message = BROKEN_LABELS[kind]
    change(segmentation / LABELS)
    with pytest.raises(UserError, match=f'^{segmentation / LABELS}: .*{message}'):
        first_item(segmentation)


@pytest.mark.parametrize('mode', ['P', 'I;16'])
def test_other_kinds_of_labels_are_as_good(mode: str, segmentation: Path) -> None:
    expected = first_item(segmentation)['data_samples'].gt_sem_seg.data
    with Image.open(segmentation / LABELS) as image:
        pixels = np.array(image)
    if mode == 'P':
        Image.fromarray(pixels).convert('P').save(segmentation / LABELS)
    else:
        write(segmentation / LABELS, pixels.astype(np.uint16))
    assert first_item(segmentation)['data_samples'].gt_sem_seg.data.equal(expected)


def test_an_empty_split_and_filters_that_leave_nothing(segmentation: Path) -> None:
    shutil.rmtree(segmentation / 'images/training')
    (segmentation / 'images/training').mkdir()
    with pytest.raises(UserError, match='images/training: expected images, found none'):
        first_item(segmentation)


@pytest.mark.parametrize('orientation', [3, 6])
@pytest.mark.parametrize('backend', ['cv2', 'color_ignore_orientation'])
@pytest.mark.parametrize('labels_are', ['stored', 'turned'])
def test_labels_and_images_that_exif_turns_apart(
    orientation: int, backend: str, labels_are: str, segmentation: Path
) -> None:
    """Each pixel's label is its grey value, wherever sizes decide how the labels lie."""
    values = np.arange(1, 7, dtype=np.uint8).reshape(2, 3).repeat(8, 0).repeat(8, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values * 40).save(segmentation / 'a.png', exif=exif)
    (segmentation / 'a.png').rename(segmentation / IMAGE)
    turned = cv2.imread(str(segmentation / IMAGE))[..., 0] // 40
    write(segmentation / LABELS, values if labels_are == 'stored' else turned)
    options = {} if backend == 'cv2' else {'color_type': backend}
    for split in ('train', 'val'):
        if split == 'val':  # labels are loaded after the test pipeline's other steps
            for path in (IMAGE, LABELS):
                other = segmentation / path.replace('training', 'validation')
                shutil.copy(segmentation / path, other)
        item = first_item(segmentation, split, **options)
        image, labels = item['inputs'][0], item['data_samples'].gt_sem_seg.data[0]
        if orientation >= 5 or (labels_are == 'stored') == bool(options):
            assert (image // 40).equal(labels + 1)


def change(root: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads((root / JSON).read_text())
    edit(content)
    (root / JSON).write_text(json.dumps(content))


def first_annotation(**values: object) -> Callable[[dict], object]:
    return lambda content: content['annotations'][0].update(values)


def twice(name: str) -> Callable[[dict], object]:
    return lambda content: content[name][1].update(id=content[name][0]['id'])


BROKEN_JSON: dict[str, tuple[Callable[[dict], object], str]] = {
    'no categories': (lambda c: c.pop('categories'), 'found no categories'),
    'no annotations': (lambda c: c.pop('annotations'), 'found no annotations'),
    'no bbox': (lambda c: c['annotations'][0].pop('bbox'), 'annotations, id 1: expected bbox'),
    'no area': (lambda c: c['annotations'][0].pop('area'), 'annotations, id 1: expected area'),
    'no width': (lambda c: c['images'][0].pop('width'), r'images, id \d+: expected width, got'),
    'text as width': (lambda c: c['images'][0].update(width='160'), 'expected width: a whole'),
    'same image': (twice('images'), r'images, id \d+: expected this id once'),
    'same annotation': (twice('annotations'), 'annotations, id 1: expected this id once'),
    'same category': (twice('categories'), 'categories, id 1: expected this id once'),
    'unknown category': (
        first_annotation(category_id=99),
        'id 1: expected category_id: one of categories, got 99',
    ),
    'nan': (first_annotation(bbox=[1, 2, 3, np.nan]), 'id 1: expected bbox: .*nan'),
    'inf': (first_annotation(bbox=[1, np.inf, 3, 4]), 'id 1: expected bbox: .*inf'),
    'negative': (first_annotation(bbox=[50, 50, -9, 9]), r'bbox: .* got \[50, 50, -9, 9\]'),
    'three numbers': (first_annotation(bbox=[1, 2, 3]), r'id 1: expected bbox: .* got \[1, 2, 3\]'),
    'texts': (first_annotation(bbox=['1', '2', '3', '4']), 'id 1: expected bbox: '),
    'nan in a polygon': (
        first_annotation(segmentation=[[1, 1, np.nan, 9, 9, 9]]),
        'id 1: expected segmentation: ',
    ),
    'no mask': (first_annotation(segmentation=None), 'id 1: expected segmentation: .* got none'),
    'text as mask': (first_annotation(segmentation='x'), 'id 1: expected segmentation: .* got x'),
    'run lengths of another size': (
        first_annotation(segmentation=dict(size=[3, 3], counts=[9])),
        'id 1: expected segmentation: .* size of the image, got',
    ),
    'too few run lengths': (
        first_annotation(segmentation=dict(size=[160, 160], counts=[9])),
        'id 1: expected segmentation: .*',
    ),
    'negative run length': (
        first_annotation(segmentation=dict(size=[160, 160], counts=[-1, 25601])),
        'id 1: expected segmentation: .*',
    ),
    'far point': (
        first_annotation(segmentation=[[1, 1, 1e9, 1, 9, 9]]),
        'id 1: expected segmentation: polygons in pixels',
    ),
    'far box': (first_annotation(bbox=[1, 1, 1e300, 5]), 'id 1: expected bbox: .* in pixels'),
    'text as id': (first_annotation(id='7'), "id 7: expected id: an integer, got '7'"),
    'boolean as id': (first_annotation(id=True), 'id True: expected id: an integer, got True'),
    'text as category': (
        lambda c: c['categories'][0].update(id='1'),
        "categories, id 1: expected id: an integer, got '1'",
    ),
    'text as crowd': (first_annotation(iscrowd='0'), "id 1: expected iscrowd: 0 or 1, got '0'"),
    'number as file': (
        lambda c: c['images'][0].update(file_name=7),
        'expected file_name: the name',
    ),
    'folder as file': (lambda c: c['images'][0].update(file_name='.'), 'file_name: the name of a'),
    'half a pixel': (lambda c: c['images'][0].update(width=160.5), 'width: a whole number from 1'),
    'same name': (
        lambda c: c['categories'][0].update(name='square'),
        "categories, 'square': expected this name once",
    ),
    'other name': (
        lambda c: c['categories'][0].update(name='disc'),
        r"expected categories .*'circle', 'square'.* got no category 'circle'; correct",
    ),
    'other order': (
        lambda c: c['categories'].reverse(),
        r"expected categories .* got the order 'ring', 'triangle', .*; correct",
    ),
    'no images': (lambda c: c['images'].clear(), 'expected images, found none'),
}


@pytest.mark.parametrize('kind', BROKEN_JSON)
def test_broken_json(kind: str, detection: Path) -> None:
    edit, message = BROKEN_JSON[kind]
    change(detection, edit)
    with pytest.raises(UserError, match=f'^{detection / JSON}: .*{message}'):
        first_item(detection)


@pytest.mark.parametrize('content', [b'', b'{"images": [{"id"', b'[]'])
def test_files_that_are_not_json(content: bytes, detection: Path) -> None:
    (detection / JSON).write_bytes(content)
    with pytest.raises(UserError, match=f'^{detection / JSON}: expected '):
        first_item(detection)


def test_boxes_without_masks_are_enough_for_boxes(detection: Path) -> None:
    change(detection, lambda content: [one.pop('segmentation') for one in content['annotations']])
    config = copy.deepcopy(read_config('mask_rcnn'))
    override(config, {'data_root': str(detection)})
    name_unusable_files(config)
    dataset = config.train_dataloader.dataset
    dataset.pipeline[1].with_mask = False
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert DATASETS.build(dataset)[0]['data_samples'].gt_instances


@pytest.mark.parametrize('metric', ['mmconvnext.CocoMetric', 'CocoMetric'])
def test_the_file_of_an_evaluator(metric: str, detection: Path) -> None:
    name_unusable_files(read_config('mask_rcnn'))
    options = dict(type=metric, ann_file=str(detection / JSON))

    def build(**others: object) -> object:
        with DefaultScope.overwrite_default_scope('mmdet'):
            return METRICS.build({**options, **others})

    assert build()
    change(detection, lambda content: content.pop('annotations'))
    assert build(format_only=True, outfile_prefix='found')
    if metric == 'mmconvnext.CocoMetric':
        with pytest.raises(UserError, match=r'ann_file .*: expected annotations .* found none; '):
            build()
    cut(detection / JSON)
    with pytest.raises(UserError, match=f'{detection / JSON}: expected JSON'):
        build()


def test_a_text_as_classes(detection: Path) -> None:
    with pytest.raises(UserError, match=r"metainfo.classes: expected a tuple .* \('name',\)"):
        require_classes(read_coco(detection / JSON), 'circle')


def test_run_lengths_that_only_drawing_refuses(detection: Path) -> None:
    broken = dict(size=[160, 160], counts='not rle')
    change(detection, lambda c: [one.update(segmentation=broken) for one in c['annotations']])
    with pytest.raises(UserError, match=r'\.jpg: expected annotations that can be read \(Invalid'):
        first_item(detection)


def test_json_as_it_occurs(detection: Path) -> None:
    """Boxes of no size and beyond the image, as in COCO, ids of text, and no list of a test set."""

    def edit(content: dict) -> None:
        content['images'][0].update(width=160.0, height=160.0)
        for crowd, annotation in zip((None, True, False), content['annotations']):
            annotation['iscrowd'] = crowd
        content['annotations'][0]['bbox'] = [5, 5, 1.03, 0.0]
        content['annotations'][1]['bbox'][0] = -3.5
        content['annotations'][1]['score'] = np.nan
        for record in (*content['images'], *content['annotations']):
            key = 'image_id' if 'image_id' in record else 'id'  # of an image
            record[key] = str(record[key])

    change(detection, edit)
    assert first_item(detection)['data_samples'].gt_instances
    val = detection / 'annotations/instances_val2017.json'
    content = json.loads(val.read_text())
    del content['annotations']
    val.write_text(json.dumps(content))
    assert first_item(detection, 'val')['inputs'].shape[0] == 3


@pytest.mark.parametrize('orientation', [1, 8])
@pytest.mark.parametrize('as_stored', [True, False])
def test_boxes_of_images_that_exif_turns(
    orientation: int, as_stored: bool, detection: Path
) -> None:
    content = json.loads((detection / JSON).read_text())
    path = detection / 'train2017' / content['images'][0]['file_name']
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, format='PNG', exif=exif)
    expected = pixels if as_stored else cv2.imread(str(path))[..., 0]
    height, width = expected.shape
    change(detection, lambda c: c['images'][0].update(width=width, height=height))
    corners = [[1, 1, 9, 1, 9, 9]]  # run lengths would have the other size
    change(detection, lambda c: [one.update(segmentation=corners) for one in c['annotations']])
    for options in ({}, {'color_type': 'color_ignore_orientation'}):
        item = first_item(detection, **options)
        assert np.array_equal(item['inputs'][0].numpy(), expected)
        assert item['data_samples'].ori_shape == (height, width)
    change(detection, lambda c: c['images'][0].update(width=width + 1))
    with pytest.raises(UserError, match=f'{path}: expected {width + 1} × {height} pixels, as in'):
        first_item(detection)


def test_tools_end_with_one_line(segmentation: Path, tmp_path: Path, run_tool) -> None:
    """Also from a worker of the data loader, and for a work dir that is a file."""
    for path in (segmentation / 'annotations/training').iterdir():
        path.unlink()
    command = ['tools/train.py', CONFIGS / 'upernet_convnext_atto_samples.py']
    values = [f'data_root={segmentation}', 'train_dataloader.num_workers=1']
    tool = run_tool(*command, '--work-dir', tmp_path / 'run', '--cfg-options', *values)
    assert_one_line_error(tool, 'expected a readable label map')
