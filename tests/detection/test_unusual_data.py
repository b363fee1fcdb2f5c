"""Images and annotations as they occur, trained on and tested with the whole chain."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmconvnext.data.detection_samples import run_lengths
from tests.conftest import CONFIGS
from tests.test_tools import assert_one_line_error

SIDE = 96


def write_image(path: Path, mode: str, size: tuple[int, int]) -> None:
    """An image of the given kind, (width, height) pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    if mode == '16 bit':
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(noise).convert(mode).save(path)


def upper_half(width: int, height: int) -> dict:
    """A crowd's mask, in run lengths down the columns as in COCO."""
    mask = np.zeros((height, width), bool)
    mask[: height // 2] = True
    return dict(size=[height, width], counts=run_lengths(mask))


def box(x: float, y: float, width: float, height: float) -> dict:
    right, bottom = x + width, y + height
    return dict(
        bbox=[x, y, width, height],
        segmentation=[[x, y, right, y, right, bottom, x, bottom]],
        area=width * height,
        iscrowd=0,
    )


# Kind, ending, size, annotations.
PICTURES = {
    'plain': ('RGB', 'jpg', (SIDE, SIDE), [box(10, 10, 40, 30)]),
    'grey': ('L', 'png', (SIDE, SIDE), [box(20, 10, 40, 60)]),
    'cmyk': ('CMYK', 'jpg', (SIDE, 64), [box(5, 5, 30, 30)]),
    'sixteen': ('16 bit', 'png', (64, SIDE), [box(5, 5, 30, 30)]),
    'palette': ('P', 'png', (SIDE, SIDE), [box(5, 5, 30, 30)]),
    'alpha': ('RGBA', 'png', (SIDE, SIDE), [box(5, 5, 30, 30)]),
    'one_pixel_wide': ('RGB', 'jpg', (SIDE, SIDE), [box(30, 10, 1, 50), box(10, 40, 50, 1)]),
    'degenerate': ('RGB', 'jpg', (SIDE, SIDE), [box(30, 10, 0, 50), box(8, 8, 30, 30)]),
    'outside': ('RGB', 'jpg', (SIDE, SIDE), [box(-20, -20, 60, 60), box(200, 200, 10, 10)]),
    'tiny': ('RGB', 'png', (3, 5), [box(0, 0, 2, 3)]),
    'long': ('RGB', 'jpg', (400, 8), [box(10, 1, 200, 6)]),
    'empty': ('RGB', 'jpg', (SIDE, SIDE), []),
    'crowd_alone': (
        *('RGB', 'jpg', (SIDE, SIDE)),
        [dict(bbox=[0, 0, SIDE, SIDE // 2], area=SIDE * SIDE // 2, iscrowd=1, segmentation=None)],
    ),
}


@pytest.fixture(scope='module')
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Categories 2, 5 and 90; the images serve for training and validation."""
    root = tmp_path_factory.mktemp('unusual')
    images, annotations = [], []
    (root / 'pictures').mkdir()
    for number, (name, (mode, ending, size, found)) in enumerate(PICTURES.items(), 1):
        file = f'{name}.{ending}'
        write_image(root / 'pictures' / file, mode, size)
        images.append(dict(id=number * 7, file_name=file, width=size[0], height=size[1]))
        for annotation in found:
            mask = annotation['segmentation'] or upper_half(*size)
            annotations.append(
                dict(
                    annotation,
                    segmentation=mask,
                    id=len(annotations) + 1,
                    image_id=number * 7,
                    category_id=(2, 5, 90)[len(annotations) % 3],
                )
            )
    categories = [dict(id=i, name=name) for i, name in ((2, 'a'), (5, 'b'), (90, 'c'))]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'unusual.json').write_text(json.dumps(content))
    return root


@pytest.mark.parametrize('kind', ['mask_rcnn', 'cascade_mask_rcnn'])
def test_trains_and_evaluates(kind: str, unusual: Path, tmp_path: Path) -> None:
    config = Config.fromfile(CONFIGS / f'{kind}_convnext_atto_samples.py')
    jitter = Config.fromfile(CONFIGS / '_base_' / 'datasets' / 'coco_instance.py').train_pipeline
    for branch in jitter[3].transforms:
        for step in branch:
            if step.type == 'RandomCrop':
                step.crop_size = (40, 64)
            else:
                step.scales = [(64, 160), (96, 160)]
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        dataset.update(data_root=str(unusual), ann_file='unusual.json', test_mode=split != 'train')
        dataset.data_prefix.img = 'pictures/'
        dataset.metainfo = dict(classes=('a', 'b', 'c'))
    config.train_dataloader.dataset.pipeline = jitter
    # A cascade's anchors have to lie inside of the image; the COCO configs filter as here.
    smallest = 0 if kind == 'mask_rcnn' else 32
    config.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=False, min_size=smallest)
    config.train_dataloader.batch_size = 2
    config.val_evaluator.ann_file = str(unusual / 'unusual.json')
    heads = config.model.roi_head
    for head in [heads.mask_head, *(heads.bbox_head if kind != 'mask_rcnn' else [heads.bbox_head])]:
        head.num_classes = 3
    config.model.test_cfg.rcnn.score_thr = 0.0
    config.train_cfg.max_epochs = config.train_cfg.val_interval = 2
    config.default_hooks.logger.interval = 1
    config.work_dir = config.visualizer.name = str(tmp_path)
    runner = Runner.from_cfg(config)
    large = [name for name, (_, _, size, _) in PICTURES.items() if min(size) >= smallest]
    assert len(runner.train_dataloader.dataset) == len(large)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert np.isfinite(losses).all()
    scores = {
        key.split('/', 1)[1]: runner.message_hub.get_scalar(key).current()
        for key in runner.message_hub.log_scalars
        if key.startswith('val/coco/')
    }
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= scores.keys()
    assert all(-1 <= value <= 1 for value in scores.values())


def test_a_picture_without_room_for_an_anchor_is_named(unusual: Path, run_tool, tmp_path) -> None:
    """A cascade's anchors have to lie inside of the image."""
    content = json.loads((unusual / 'unusual.json').read_text())
    tiny = [image for image in content['images'] if image['file_name'] == 'tiny.png']
    truth = [a for a in content['annotations'] if a['image_id'] == tiny[0]['id']]
    file = tmp_path / 'tiny.json'
    categories = [*content['categories'], dict(id=91, name='d')]  # as many as the config's heads
    parts = dict(images=tiny, annotations=truth, categories=categories)
    file.write_text(json.dumps(parts))
    options = [
        f'train_dataloader.dataset.ann_file={file}',
        f'train_dataloader.dataset.data_prefix.img={unusual / "pictures"}',
        "train_dataloader.dataset.metainfo.classes=('a','b','c','d')",
        'train_cfg.val_interval=9',
        "val_dataloader.dataset.metainfo.classes=('a','b','c','d')",
        f'val_dataloader.dataset.ann_file={file}',
        f'val_dataloader.dataset.data_prefix.img={unusual / "pictures"}',
    ]
    result = run_tool(
        *('tools/train.py', 'configs/cascade_mask_rcnn_convnext_atto_samples.py'),
        *('--work-dir', tmp_path / 'run', '--cfg-options', *options),
    )
    assert_one_line_error(result, 'tiny.png: expected space for an anchor, got 3 × 5 pixels')


def test_a_data_set_without_any_object_is_evaluated(unusual: Path, tmp_path: Path) -> None:
    content = json.loads((unusual / 'unusual.json').read_text())
    (tmp_path / 'none.json').write_text(json.dumps({**content, 'annotations': []}))
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    dataset = config.test_dataloader.dataset
    dataset.update(data_root='', ann_file=str(tmp_path / 'none.json'), indices=2)
    dataset.data_prefix.img = str(unusual / 'pictures')
    dataset.metainfo = dict(classes=('a', 'b', 'c'))
    config.test_evaluator.ann_file = str(tmp_path / 'none.json')
    for head in (config.model.roi_head.bbox_head, config.model.roi_head.mask_head):
        head.num_classes = 3
    config.work_dir = config.visualizer.name = str(tmp_path)
    scores = Runner.from_cfg(config).test()
    assert scores['coco/bbox_mAP'] == scores['coco/segm_mAP'] == -1
