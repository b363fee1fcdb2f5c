"""One defect at a time in an annotation file that is otherwise good."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask

from mmconvnext.command_line.overrides import override
from mmconvnext.data.coco_file import read_coco
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError
from mmconvnext.preflight import preflight
from mmconvnext.preflight.annotations import fault_of_mask
from mmconvnext.preflight.findings import Finding
from tests.conftest import CONFIGS

TRAIN = 'annotations/instances_train2017.json'


@pytest.fixture(scope='module')
def detection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'detection'
    return write_detection_samples(root, training=6, validation=3, size=64)


@pytest.fixture
def check(detection: Path, tmp_path: Path) -> Callable[..., list[Finding]]:
    """Findings after a change of the training annotations or of the config."""

    def run(
        change: Callable[[dict], object] | None = None,
        configure: Callable[[Config], object] | None = None,
        *,
        open_files: bool = False,
    ) -> list[Finding]:
        config = Config.fromfile(CONFIGS / 'cascade_mask_rcnn_convnext_atto_samples.py')
        override(config, {'data_root': str(detection)})
        content = copy.deepcopy(json.loads((detection / TRAIN).read_text()))
        if change:
            change(content)
        file = tmp_path / 'train.json'
        file.write_text(json.dumps(content))
        config.train_dataloader.dataset.ann_file = str(file)
        if configure:
            configure(config)
        return preflight(config, open_files=open_files).findings.sorted()

    return run


def errors(findings: list[Finding]) -> set[str]:
    return {finding.kind for finding in findings if finding.level == 'error'}


def kinds(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in findings}


def test_good_data_have_no_findings(check) -> None:
    found = check(open_files=True)
    assert [f for f in found if f.level != 'note'] == []


def edit(name: str, /, **changes: object) -> Callable[[dict], None]:
    """Change the first record of a list."""
    return lambda content: content[name][0].update(changes)


def drop(name: str, key: str) -> Callable[[dict], None]:
    return lambda content: content[name][0].pop(key)


def repeat(name: str) -> Callable[[dict], None]:
    return lambda content: content[name].append(content[name][0])


CHANGES = {
    'duplicate image ids': repeat('images'),
    'duplicate annotation ids': repeat('annotations'),
    'duplicate category ids': repeat('categories'),
    'duplicate categories': lambda c: c['categories'].append(dict(id=99, name='circle')),
    'annotation ids no integers': edit('annotations', id='1'),
    'category ids no integers': edit('categories', id='1'),
    'incomplete records': drop('annotations', 'area'),
    'annotations without image': edit('annotations', image_id=99),
    'unknown category': edit('annotations', category_id=99),
    'boxes without numbers': edit('annotations', bbox=[1, 2, 3]),
    'boxes of no size': edit('annotations', bbox=[10, 10, -5, 5]),
    'boxes below a pixel': edit('annotations', bbox=[10, 10, 0.5, 5]),
    'boxes outside': edit('annotations', bbox=[100, 10, 5, 5]),
    'boxes beyond the edge': edit('annotations', bbox=[50, 10, 30, 5]),
    'areas of 0': edit('annotations', area=0),
    'areas without numbers': edit('annotations', area='5'),
    'no masks': edit('annotations', segmentation=[]),
    'broken masks': edit('annotations', segmentation=[['a', 'b'] * 3]),
    'short polygons': edit('annotations', segmentation=[[1, 2, 3, 4]]),
    'run lengths of another size': edit(
        'annotations', segmentation=dict(size=[32, 64], counts=[32 * 64])
    ),
    'empty masks': edit('annotations', segmentation=dict(size=[64, 64], counts=[64 * 64])),
    'masks beside their boxes': edit('annotations', segmentation=[[0, 0, 0.5, 0, 0.5, 0.9]]),
    'classes not in json': edit('categories', name='disc'),
    'categories not in classes': edit('categories', name='disc'),
    'order of classes': lambda c: c['categories'].reverse(),
    'nothing left': lambda c: c['annotations'].clear(),
}


def mask_fault(segmentation: object, size: tuple[int, int]) -> str:
    """The fault in an annotation whose box is the whole image."""
    box = [0, 0, size[1], size[0]]
    return fault_of_mask(dict(segmentation=segmentation, bbox=box), size)


@pytest.mark.parametrize(
    'polygon', [[10, 10] * 3, [-9, 1, -1, 1, -1, 9], [70, 1, 80, 1, 80, 9], [1, 5, 9, 5, 20, 5]]
)
def test_polygons_without_a_pixel_are_empty(polygon: list[int]) -> None:
    assert mask_fault([polygon], (64, 64)) == 'empty masks'
    assert mask_fault([polygon, [1, 1, 9, 1, 9, 9]], (64, 64)) == ''
    assert mask_fault([[float('nan'), *polygon[1:]]], (64, 64)) == 'broken masks'
    assert mask_fault([[1e9, *polygon[1:]]], (64, 64)) == 'broken masks'


def test_polygons_that_cross_themselves_are_warned_of(check) -> None:
    crossing = [[1, 1, 9, 9, 9, 1, 1, 9]]
    found = kinds(check(lambda c: [a.update(segmentation=crossing) for a in c['annotations']]))
    assert found['crossing polygons'].level == 'warning'
    assert mask_fault([[1, 1, 9, 1, 9, 9, 1, 9, 1, 1]], (64, 64)) == ''  # closed by its last point


def test_reports_what_loading_refuses(check) -> None:
    assert 'annotation file' in errors(check(edit('annotations', area=float('inf'))))


def test_crowds_are_no_objects(check) -> None:
    found = kinds(check(lambda c: [a.update(iscrowd=1) for a in c['annotations']]))
    assert 'ignored in training' in found['crowds'].message
    assert found['no boxes'].level == 'error'


def test_integers_of_any_length(check) -> None:
    assert 'boxes without numbers' in errors(check(edit('annotations', bbox=[0, 0, 10**400, 5])))


@pytest.mark.parametrize('kind', CHANGES)
def test_names_the_defect(kind: str, check) -> None:
    assert kind in errors(check(CHANGES[kind]))


def test_ids_of_images_may_be_text(check) -> None:
    def change(content: dict) -> None:
        for image in content['images']:
            image['id'] = str(image['id'])
        for annotation in content['annotations']:
            annotation['image_id'] = str(annotation['image_id'])

    found = kinds(check(change))
    assert [kind for kind in found if found[kind].level != 'note'] == ['image ids no integers']
    assert found['image ids no integers'].level == 'warning'


def test_a_few_doubtful_boxes_of_many_are_a_warning(check) -> None:
    def change(content: dict) -> None:
        first = content['annotations'][0]
        for number in range(200):
            content['annotations'].append({**first, 'id': 1000 + number})
        first['bbox'] = [10, 10, 0.5, 5]

    found = kinds(check(change))
    assert found['boxes below a pixel'].level == 'warning'
    assert found['boxes below a pixel'].offenders == ['1']


@pytest.mark.parametrize('kind', ['x1, y1, x2, y2', 'parts of the image'])
def test_recognises_other_formats_of_boxes(kind: str, check) -> None:
    def change(content: dict) -> None:
        for annotation in content['annotations']:
            x, y, width, height = annotation['bbox']
            if kind.startswith('x1'):
                annotation['bbox'] = [x, y, x + width, y + height]
            else:
                annotation['bbox'] = [v / 64 for v in (x, y, width, height)]

    found = kinds(check(change))
    assert kind in found['format of boxes'].message
    assert 'boxes beyond the edge' not in found


def test_coco_s_own_classes_on_other_data(check) -> None:
    def configure(config: Config) -> None:
        del config.train_dataloader.dataset['metainfo']

    found = check(configure=configure)
    assert {'categories not in classes', 'classes not in json', 'other classes'} <= errors(found)
    assert {f.message.split(':')[0] for f in found if f.kind == 'num_classes'} == {
        *(f'model.roi_head.bbox_head.{stage}.num_classes' for stage in range(3)),
        'model.roi_head.mask_head.num_classes',
    }


def test_some_of_the_categories_may_be_meant(check) -> None:
    def configure(config: Config) -> None:
        config.train_dataloader.dataset.metainfo.classes = ('circle', 'square', 'triangle')

    found = kinds(check(configure=configure))
    assert found['categories not in classes'].level == 'warning'
    assert 'ring' in found['categories not in classes'].offenders[0]


def test_a_text_is_no_tuple_of_classes(check) -> None:
    def configure(config: Config) -> None:
        config.train_dataloader.dataset.metainfo.classes = 'circle'

    assert 'classes is a text' in errors(check(configure=configure))


def test_masks_matter_only_where_they_are_loaded(check) -> None:
    def configure(config: Config) -> None:
        config.train_dataloader.dataset.pipeline[1].with_mask = False

    assert errors(check(CHANGES['no masks'], configure)) == set()


@pytest.mark.parametrize('filtered', [True, False])
def test_says_what_becomes_of_pictures_without_annotation(filtered: bool, check) -> None:
    def change(content: dict) -> None:
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] > 2]

    def configure(config: Config) -> None:
        config.train_dataloader.dataset.filter_cfg.filter_empty_gt = filtered

    note = kinds(check(change, configure))['images without annotation']
    assert note.level == 'note'
    assert note.count == 2
    assert ('left out' if filtered else 'kept as background') in note.message


def test_opens_the_pictures(check) -> None:
    def change(content: dict) -> None:
        content['images'][0]['file_name'] = 'nowhere.jpg'
        content['images'][1]['width'] = 63

    found = kinds(check(change, open_files=True))
    assert found['unreadable images'].offenders[0].endswith('train2017/nowhere.jpg')
    assert '64 × 64, json 63 × 64' in found['sizes of images'].offenders[0]


def test_the_evaluator_reads_what_its_data_set_reads(check, detection: Path) -> None:
    def configure(config: Config) -> None:
        config.val_evaluator.ann_file = str(detection / TRAIN)

    assert errors(check(configure=configure)) == {'ann_file of the evaluator'}


@pytest.mark.parametrize(
    ('text', 'part'),
    [
        ('<html>', 'expected JSON'),
        ('', 'expected JSON'),
        ('[]', 'found no images (only list)'),
        ('{"shapes": []}', 'found no images (only shapes)'),
        ('{"images": [], "annotations": []}', 'found no categories'),
    ],
)
def test_other_files_are_one_line(text: str, part: str, tmp_path: Path) -> None:
    file = tmp_path / 'a.json'
    file.write_text(text)
    with pytest.raises(UserError, match=r'a\.json: expected ') as caught:
        read_coco(file)
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match=r'could not read it'):
        read_coco(tmp_path / 'none.json')


def test_compressed_run_lengths() -> None:
    pixels = np.zeros((5, 7), np.uint8, order='F')
    empty = mask.encode(pixels)['counts'].decode()
    pixels[1:3, 2:4] = 1
    good = mask.encode(pixels)['counts'].decode()
    assert mask_fault(dict(size=[5, 7], counts=good), (5, 7)) == ''
    assert mask_fault(dict(size=[5, 7], counts=good), (7, 5)) == 'run lengths of another size'
    assert mask_fault(dict(size=[5, 7], counts=empty), (5, 7)) == 'empty masks'
    assert mask_fault(dict(size=[5, 7], counts='P1' * 50), (5, 7)) == 'broken masks'
    assert mask_fault(dict(size=[5, 7], counts='ÿÿÿ'), (5, 7)) == 'broken masks'
    assert mask_fault(dict(size=[5, 7]), (5, 7)) == 'broken masks'
    assert mask_fault(dict(size=[5, 7], counts=[30]), (5, 7)) == 'run lengths of another size'
