"""Configs written for a person's own data, read again and built."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmconvnext.custom_dataset.config import base_path, common_root, find_base, palette
from mmconvnext.custom_dataset.dataset import OwnData, train_command, write_custom_config
from mmconvnext.custom_dataset.schedule import Length
from mmconvnext.data.detection_samples import write_detection_samples
from mmconvnext.errors import UserError
from mmconvnext.preflight import preflight
from tests.conftest import CONFIGS

ATTO = {
    kind: str(CONFIGS / f'{kind}_convnext_atto_samples.py')
    for kind in ('upernet', 'mask_rcnn', 'cascade_mask_rcnn')
}


@pytest.fixture(scope='module')
def detection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'detection'
    return write_detection_samples(root, training=6, validation=3, size=64)


def own_coco(root: Path) -> OwnData:
    files = {split: root / f'annotations/instances_{split}2017.json' for split in ('train', 'val')}
    return OwnData(
        train_images=str(root / 'train2017'),
        val_images=str(root / 'val2017'),
        train_ann=str(files['train']),
        val_ann=str(files['val']),
    )


def own_labels(root: Path, **more: object) -> OwnData:
    folders = {
        f'{split}_{name}': str(root / folder / f'{split}ing'.replace('valing', 'validation'))
        for split in ('train', 'val')
        for name, folder in (('images', 'images'), ('labels', 'annotations'))
    }
    folders = {key: folder.replace('traininging', 'training') for key, folder in folders.items()}
    return OwnData(**folders, **more)


def write(base: str, data: OwnData, out: Path, **options: object) -> Config:
    write_custom_config(base, out, data, options.pop('length', Length()), **options)
    return Config.fromfile(out)


@pytest.fixture
def coco_with(detection: Path, tmp_path: Path) -> Callable[..., OwnData]:
    """Own data after a change of both annotation files."""

    def change_both(change: Callable[[dict], object]) -> OwnData:
        paths = []
        for split in ('train', 'val'):
            content = json.loads(
                (detection / f'annotations/instances_{split}2017.json').read_text()
            )
            change(content)
            paths.append(tmp_path / f'{split}.json')
            paths[-1].write_text(json.dumps(content))
        images = (str(detection / f'{split}2017') for split in ('train', 'val'))
        return OwnData(*images, *map(str, paths))

    return change_both


@pytest.mark.parametrize('kind', ['mask_rcnn', 'cascade_mask_rcnn'])
def test_every_head_paths_and_evaluators(kind: str, detection: Path, tmp_path: Path) -> None:
    out = tmp_path / 'mine.py'
    config = write(ATTO[kind], own_coco(detection), out, batch_size=2)
    heads = config.model.roi_head
    boxes = heads.bbox_head if isinstance(heads.bbox_head, list) else [heads.bbox_head]
    assert [head.num_classes for head in [*boxes, heads.mask_head]] == [4] * (len(boxes) + 1)
    assert boxes[0].fc_out_channels == 256, 'all else as in the base'
    assert config.data_root == str(detection)
    assert config.test_evaluator.ann_file == str(
        detection / 'annotations' / 'instances_val2017.json'
    )
    assert config.train_dataloader.batch_size == config.auto_scale_lr.base_batch_size == 2
    checked = preflight(config)
    assert [f for f in checked.findings.sorted() if f.level != 'note'] == []


def test_any_names_and_three_classes(coco_with, tmp_path: Path) -> None:
    names = ["l'été", '"quoted" \\ {x}', '猫', 'd']

    def change(content: dict) -> None:
        for category, name in zip(content['categories'], names):
            category['name'] = name
        del content['categories'][3]
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] != 7]

    out = tmp_path / "it's {mine}" / 'mine.py'
    data = coco_with(change)
    config = write(ATTO['cascade_mask_rcnn'], data, out)
    assert config.metainfo.classes == tuple(names[:3])
    assert [head.num_classes for head in config.model.roi_head.bbox_head] == [3, 3, 3]
    assert preflight(config, open_files=False).findings.of('error') == []


@pytest.mark.parametrize('kind', ['mask_rcnn', 'cascade_mask_rcnn'])
def test_without_masks_boxes_alone(kind: str, coco_with, tmp_path: Path) -> None:
    data = coco_with(lambda content: [a.pop('segmentation') for a in content['annotations']])
    out = tmp_path / 'mine.py'
    notices = write_custom_config(ATTO[kind], out, data, Length())
    assert 'without the mask head' in notices[0]
    config = Config.fromfile(out)
    assert config.model.roi_head.mask_head is None
    assert config.val_evaluator.metric == 'bbox'
    assert not any(
        step.get('with_mask')
        for split in ('train', 'val', 'test')
        for step in config[f'{split}_dataloader'].dataset.pipeline
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    assert model.with_bbox
    assert not model.with_mask
    assert preflight(config).findings.of('error') == []


def test_label_folders(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / 'mine.py'
    data = own_labels(samples, classes=['a', 'b', 'c', 'd', 'e', 'f'])
    config = write(ATTO['upernet'], data, out, length=Length(iterations=10))
    assert config.train_dataloader.dataset.reduce_zero_label is True
    assert config.model.decode_head.num_classes == 6
    assert config.train_cfg.max_iters == 10
    assert preflight(config).findings.of('error') == []
    assert 'train_pipeline' not in out.read_text(), 'the base reads them so already'


def test_one_class_and_images_that_cannot_be_stacked(samples: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(samples, tmp_path / 'set'))
    for place, file in enumerate(sorted((root / 'annotations').rglob('*.png'))):
        image = root / 'images' / file.parent.name / f'{file.stem}.jpg'
        for path in (file, image):
            pixels = np.array(Image.open(path))
            pixels = (pixels > 1).astype(np.uint8) if path == file else pixels
            pixels = pixels.repeat(2, 0) if place % 2 else pixels
            Image.fromarray(pixels).save(path)
    out = tmp_path / 'mine.py'
    (notice, *_) = write_custom_config(
        ATTO['upernet'], out, own_labels(root, classes=['trail']), Length(iterations=10)
    )
    assert '0 is the class background, 1 is trail; a crop to 96 × 96 was added' in notice
    config = Config.fromfile(out)
    dataset = config.train_dataloader.dataset
    assert config.classes == ('background', 'trail')
    assert dataset.reduce_zero_label is False
    assert dataset.pipeline[-2] == dict(type='RandomCrop', crop_size=(96, 96))
    assert all(step.type != 'RandomCrop' for step in config.val_dataloader.dataset.pipeline)
    assert preflight(config).findings.of('error') == []


def test_masks_for_a_detector_of_boxes(detection: Path, tmp_path: Path) -> None:
    base, out = tmp_path / 'base.py', tmp_path / 'mine.py'
    base.write_text(
        f'_base_ = {ATTO["mask_rcnn"]!r}\nmodel = dict(roi_head=dict(mask_head=None))\n'
    )
    (notice, *_) = write_custom_config(str(base), out, own_coco(detection), Length())
    assert notice == 'the model has no mask head: only boxes are trained and evaluated'
    config = Config.fromfile(out)
    assert config.val_evaluator.metric == 'bbox'
    assert preflight(config).findings.of('error') == []


def test_label_folders_in_another_way_than_the_base(samples: Path, tmp_path: Path) -> None:
    """Of ADE20K, with its own classes, an auxiliary head and reduce_zero_label."""
    out = tmp_path / 'mine.py'
    config = write(str(CONFIGS / 'upernet_convnext_t_ade20k.py'), own_labels(samples), out)
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        assert dataset.reduce_zero_label is False
        assert dataset.metainfo.classes == tuple(f'class_{place}' for place in range(7))
    tta = [step for steps in config.tta_pipeline[1].transforms for step in steps]
    assert [s.reduce_zero_label for s in tta if s.type == 'LoadAnnotations'] == [False]
    assert config.model.auxiliary_head.num_classes == config.model.decode_head.num_classes == 7
    assert preflight(config).findings.of('error') == []


def test_another_label_is_ignored(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / 'mine.py'
    base = str(CONFIGS / 'upernet_convnext_t_ade20k.py')
    config = write(base, own_labels(samples, ignore_index=6), out)
    assert config.model.decode_head.num_classes == 6
    places = [
        *(config.model.decode_head, config.model.auxiliary_head, config.val_evaluator),
        *(config.train_dataloader.dataset, config.train_pipeline[3]),
    ]
    assert [place.ignore_index for place in places] == [6] * 5
    assert config.model.data_preprocessor.seg_pad_val == 6
    assert preflight(config).findings.of('error') == []


def test_the_text_is_laid_out_as_the_configs_here(coco_with, samples, tmp_path: Path) -> None:
    data = coco_with(lambda content: [a.pop('segmentation') for a in content['annotations']])
    write(ATTO['cascade_mask_rcnn'], data, tmp_path / 'boxes.py', length=Length(epochs=3))
    write(
        *(str(CONFIGS / 'upernet_convnext_t_ade20k.py'), own_labels(samples)),
        *(tmp_path / 'labels.py',),
        length=Length(iterations=40),
    )
    command = [sys.executable, '-m', 'ruff', 'format', '--check', '--config']
    command += [str(CONFIGS.parent / 'pyproject.toml'), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_refuses_what_would_be_lost_or_cannot_be(detection, samples, tmp_path: Path) -> None:
    out = tmp_path / 'mine.py'
    write(ATTO['mask_rcnn'], own_coco(detection), out)
    before = out.read_text()
    for base, data, target, part in (
        (ATTO['mask_rcnn'], own_coco(detection), out, 'exists; give --force'),
        (ATTO['mask_rcnn'], own_coco(detection), tmp_path / 'mine', 'expected the name of a'),
        (ATTO['upernet'], own_coco(detection), tmp_path / 'b.py', 'choose a detection config'),
        (ATTO['mask_rcnn'], own_labels(samples), tmp_path / 'b.py', 'choose a segmentation'),
        (ATTO['upernet'], OwnData('a', 'b'), tmp_path / 'b.py', 'got neither or a mixture'),
        ('none.py', own_coco(detection), tmp_path / 'b.py', 'no such config file'),
    ):
        with pytest.raises(UserError) as caught:
            write_custom_config(base, target, data, Length())
        assert part in str(caught.value)
        assert '\n' not in str(caught.value)
    assert out.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['mine.py']
    assert write(ATTO['mask_rcnn'], own_coco(detection), out, force=True, batch_size=7)
    assert 'batch_size=7' in out.read_text()


def test_wrapped_training_data_are_refused(detection: Path, tmp_path: Path) -> None:
    base = tmp_path / 'base.py'
    base.write_text(
        f"_base_ = '{ATTO['mask_rcnn']}'\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2,\n"
        '    dataset=_base_.train_dataloader.dataset))\n'
    )
    with pytest.raises(UserError, match='got RepeatDataset; choose a whole config'):
        write(str(base), own_coco(detection), tmp_path / 'mine.py')


def test_paths(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert base_path(Path('configs/a.py'), Path('configs/own/b.py')) == '../a.py'
    assert base_path(Path('/elsewhere/a.py'), Path('b.py')) == '/elsewhere/a.py'
    assert common_root(['data/a/x', 'data/a/y/z']) == ('data/a', ['x', 'y/z'])
    assert common_root(['a', 'b']) == ('.', ['a', 'b'])
    assert common_root(['a', '/b']) == ('/', [str(tmp_path / 'a')[1:], 'b'])
    assert train_command(Path('a b.py'), 1) == "python tools/train.py 'a b.py'"
    assert train_command(Path('a.py'), 4) == 'tools/dist_train.sh a.py 4'


def test_finds_installed_configs(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / '.mim' / 'configs'
    folder.mkdir(parents=True)
    (folder / 'a.py').touch()
    monkeypatch.setattr('mmconvnext.__file__', str(tmp_path / '__init__.py'))
    assert find_base('mmconvnext::a.py') == folder / 'a.py'
    for name in ('mmconvnext::b.py', 'mmdet::a.py', 'a.py'):
        with pytest.raises(UserError, match=f'{name}: no such config file'):
            find_base(name)


def test_colours_differ() -> None:
    colours = palette(150)
    assert len({*colours}) == 150
    assert all(0 <= value <= 255 for colour in colours for value in colour)


def test_ids_are_counted_in_both_splits(samples: Path, tmp_path: Path) -> None:
    """A class that is in the validation labels alone is a class."""
    folder = tmp_path / 'labels'
    folder.mkdir()
    for file in (samples / 'annotations' / 'validation').iterdir():
        Image.fromarray(np.full((64, 64), 9, np.uint8)).save(folder / file.name)
    data = own_labels(samples)
    data = OwnData(data.train_images, data.val_images, '', '', data.train_labels, str(folder))
    assert write(ATTO['upernet'], data, tmp_path / 'a.py').model.decode_head.num_classes == 10
