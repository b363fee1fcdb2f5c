import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmconvnext.data.detection_samples import (
    CLASSES,
    PALETTE,
    draw_image,
    run_lengths,
    write_detection_samples,
)
from mmconvnext.data.samples import write_segmentation_samples
from mmconvnext.data.shapes import paint_shape
from tests.data.test_samples import read

# pycocotools itself, on decoding a mask with numpy 2.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

FOLDERS = {'train2017': 30, 'val2017': 10}


@pytest.fixture(scope='module')
def detection_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'detection'
    return write_detection_samples(root, training=30, validation=10)


@pytest.fixture(scope='module')
def cocos(detection_samples: Path) -> dict[str, COCO]:
    annotations = detection_samples / 'annotations'
    return {folder: COCO(str(annotations / f'instances_{folder}.json')) for folder in FOLDERS}


def shapes_of(seeds: range) -> list:
    return [shape for i in seeds for shape in draw_image(np.random.default_rng(i), 160)[1]]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        read(write_detection_samples(tmp_path / name, training=3, validation=2, seed=seed))
        for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    assert first == second
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_layout_is_coco_s(detection_samples: Path) -> None:
    for folder, count in FOLDERS.items():
        file = detection_samples / 'annotations' / f'instances_{folder}.json'
        content = json.loads(file.read_text())
        assert content.keys() == {'info', 'licenses', 'images', 'annotations', 'categories'}
        pictures = {p.name: cv2.imread(str(p)) for p in (detection_samples / folder).iterdir()}
        assert pictures.keys() == {image['file_name'] for image in content['images']}
        assert len(pictures) == count
        for image in content['images']:
            height, width, _ = pictures[image['file_name']].shape
            assert height == width == image['height'] == image['width'] == 160


def test_splits_have_nothing_in_common(detection_samples: Path, cocos: dict[str, COCO]) -> None:
    contents = [p.read_bytes() for p in detection_samples.rglob('*.jpg')]
    assert len(set(contents)) == len(contents) == 40
    train, val = cocos.values()
    assert not train.imgs.keys() & val.imgs.keys()
    boxes = [{tuple(a['bbox']) for a in coco.anns.values()} for coco in (train, val)]
    assert len(boxes[0] & boxes[1]) < len(boxes[1]) / 10


def test_category_ids_have_gaps(cocos: dict[str, COCO]) -> None:
    for coco in cocos.values():
        categories = coco.loadCats(coco.getCatIds())
        assert tuple(category['name'] for category in categories) == CLASSES
        assert [category['id'] for category in categories] == [1, 3, 4, 7]
        assert {a['category_id'] for a in coco.anns.values()} == {1, 3, 4, 7}
    assert len(PALETTE) == len(CLASSES)


def test_annotations_agree_with_what_was_drawn(cocos: dict[str, COCO]) -> None:
    for split, coco in enumerate(cocos.values()):
        assert min(coco.anns) == 1, 'pycocotools takes 0 for "no match"'
        for index, image_id in enumerate(coco.getImgIds()):
            _, shapes = draw_image(np.random.default_rng([0, split, index]), 160)
            annotations = coco.loadAnns(coco.getAnnIds(image_id))
            assert len(annotations) == len(shapes) >= 1
            for annotation, shape in zip(annotations, shapes):
                assert coco.cats[annotation['category_id']]['name'] == shape.name
                assert annotation['iscrowd'] == 0
                assert annotation['area'] == shape.mask.sum()
                rows, columns = np.nonzero(shape.mask)
                x, y, width, height = annotation['bbox']
                assert (x, y) == (columns.min(), rows.min())
                assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
                assert_rasterises_to(shape.mask, annotation, coco)


def assert_rasterises_to(mask: np.ndarray, annotation: dict, coco: COCO) -> None:
    rasterised = coco.annToMask(annotation).astype(bool)
    if isinstance(annotation['segmentation'], dict):
        np.testing.assert_array_equal(rasterised, mask)
        return
    assert all(len(polygon) >= 6 for polygon in annotation['segmentation'])
    # 0.9 is what training needs, 0.97 what outlines along pixels' edges give.
    assert (rasterised & mask).sum() / (rasterised | mask).sum() > 0.97


@pytest.mark.parametrize('first', [True, False])
def test_run_lengths_match_pycocotools(first: bool) -> None:
    mask = np.random.default_rng(0).random((7, 5)) < 0.5
    mask[0, 0] = first
    for case in (mask, np.full_like(mask, first)):
        ours = dict(size=[7, 5], counts=run_lengths(case))
        expected = coco_mask.encode(np.asfortranarray(case, np.uint8))
        assert coco_mask.frPyObjects(ours, 7, 5) == expected


def test_run_lengths_of_hidden_shapes_and_rings_polygons_of_others(cocos: dict[str, COCO]) -> None:
    kinds = set()
    for split, coco in enumerate(cocos.values()):
        for index, image_id in enumerate(coco.getImgIds()):
            _, shapes = draw_image(np.random.default_rng([0, split, index]), 160)
            for annotation, shape in zip(coco.loadAnns(coco.getAnnIds(image_id)), shapes):
                is_polygon = isinstance(annotation['segmentation'], list)
                assert is_polygon == (shape.whole and shape.name != 'ring')
                kinds.add((shape.name, is_polygon))
    assert len(kinds) == 7  # two of each class but the ring


def test_masks_are_what_is_visible_down_to_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    painted = []

    def record(*arguments: object, **options: object) -> np.ndarray:
        painted.append(paint_shape(*arguments, **options))
        return painted[-1]

    monkeypatch.setattr('mmconvnext.data.detection_samples.paint_shape', record)
    hidden = 0
    for seed in range(150):
        painted.clear()
        _, shapes = draw_image(np.random.default_rng(seed), 160)
        # The last to be painted at a pixel is what one sees there; 0: none.
        top = np.max([k * mask for k, mask in enumerate(painted, 1)], axis=0)
        seen = [(top == k, mask) for k, mask in enumerate(painted, 1)]
        expected = [pair for pair in reversed(seen) if pair[0].sum() / pair[1].sum() >= 0.25]
        assert len(shapes) == len(expected)
        for shape, (visible, mask) in zip(shapes, expected):
            np.testing.assert_array_equal(shape.mask, visible)
            assert shape.whole == (visible.sum() == mask.sum())
        hidden += len(painted) - len(shapes)
    assert hidden > 5, 'or the quarter was not tried'


def test_shapes_are_34_to_70_pixels_wide() -> None:
    areas = {name: [] for name in CLASSES}
    for shape in shapes_of(range(150)):
        if shape.whole:
            areas[shape.name].append(shape.mask.sum())
    # Areas of circles of 34 and 70 pixels, to the rasteriser's half pixel of radius.
    assert np.pi * 16.5**2 * 0.6 <= min(areas['circle']), 'at worst two fifths of a radius cut off'
    assert np.pi * 33**2 <= max(areas['circle']) <= np.pi * 35.5**2


def test_hue_tells_the_classes_apart() -> None:
    hues = {name: [] for name in CLASSES}
    for seed in range(60):
        image, shapes = draw_image(np.random.default_rng(seed), 160)
        hue = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)[..., 0] * (360 / 256)
        for shape in shapes:
            hues[shape.name].append(hue[shape.mask])
    medians = sorted(np.median(np.concatenate(values)) for values in hues.values())
    assert min(np.diff(medians)) > 60


def test_mmdet_reads_it(detection_samples: Path, cocos: dict[str, COCO]) -> None:
    from mmdet.datasets import CocoDataset
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = CocoDataset(
            ann_file='annotations/instances_train2017.json',
            data_root=str(detection_samples),
            data_prefix=dict(img='train2017/'),
            metainfo=dict(classes=CLASSES, palette=PALETTE),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=True)],
        )
    coco = cocos['train2017']
    assert len(dataset) == 30
    for result in dataset:
        annotations = coco.loadAnns(coco.getAnnIds(result['img_id']))
        names = [coco.cats[annotation['category_id']]['name'] for annotation in annotations]
        assert [CLASSES[label] for label in result['gt_bboxes_labels']] == names
        for mask, annotation in zip(result['gt_masks'].masks, annotations):
            np.testing.assert_array_equal(mask, coco.annToMask(annotation))


def test_a_complete_set_is_left_as_it_is(tmp_path: Path) -> None:
    root = write_detection_samples(tmp_path / 'a', training=2, validation=1)
    picture = next(root.rglob('*.jpg'))
    stamp = picture.stat().st_mtime_ns
    write_detection_samples(root, training=2, validation=1)
    assert picture.stat().st_mtime_ns == stamp
    write_detection_samples(root, training=1, validation=1)
    assert len(list(root.rglob('*.jpg'))) == 2
    assert not (tmp_path / 'a.unfinished').exists()


def test_an_interrupted_set_does_not_appear(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_detection_samples(tmp_path / 'a', training=2, validation=2, report=interrupt)
    assert not (tmp_path / 'a').exists()
    calls = []
    write_detection_samples(
        tmp_path / 'a', training=2, validation=1, report=lambda *call: calls.append(call)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert [p.name for p in tmp_path.iterdir()] == ['a']


@pytest.mark.parametrize('content', ['[]', '{"flour": 500}', 'flour, 500 g'])
def test_somebody_else_s_folder_is_not_touched(tmp_path: Path, content: str) -> None:
    (tmp_path / 'recipe.json').write_text(content)
    for write in (write_detection_samples, write_segmentation_samples):
        with pytest.raises(FileExistsError, match='choose another folder'):
            write(tmp_path, training=1, validation=1)
    assert (tmp_path / 'recipe.json').read_text() == content


def test_one_kind_does_not_replace_the_other(tmp_path: Path) -> None:
    write_segmentation_samples(tmp_path / 'a', training=1, validation=1)
    write_detection_samples(tmp_path / 'b', training=1, validation=1)
    with pytest.raises(FileExistsError, match='a detection sample dataset'):
        write_detection_samples(tmp_path / 'a', training=1, validation=1)
    with pytest.raises(FileExistsError, match='a segmentation sample dataset'):
        write_segmentation_samples(tmp_path / 'b', training=1, validation=1)
    recipe = tmp_path / 'b' / 'recipe.json'
    recipe.write_text(recipe.read_text().replace('detection', 'of a later version'))
    with pytest.raises(FileExistsError, match='a detection sample dataset'):
        write_detection_samples(tmp_path / 'b', training=1, validation=1)


@pytest.mark.parametrize(
    'wrong', [dict(training=0), dict(validation=0), dict(size=8), dict(seed=-1)]
)
def test_impossible_numbers_get_an_answer(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match='expected at least 1 image'):
        write_detection_samples(tmp_path / 'a', **wrong)
    assert not list(tmp_path.iterdir())


def test_tool_writes_either_kind(run_tool, tmp_path: Path) -> None:
    for kind, size in (('segmentation', 96), ('detection', 160)):
        few = ('--training', 2, '--validation', 1)
        result = run_tool('tools/make_samples.py', tmp_path / kind, '--kind', kind, *few)
        assert result.returncode == 0, result.stderr
        recipe = json.loads((tmp_path / kind / 'recipe.json').read_text())
        assert (recipe['training'], recipe['size']) == (2, size)
    assert (tmp_path / 'detection' / 'annotations' / 'instances_val2017.json').is_file()
