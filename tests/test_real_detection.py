"""On real labelled images in COCO's layout, where they are found (see ``real_samples``)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import Runner
from pycocotools.coco import COCO

from tests.conftest import CONFIGS, ROOT

T_CONFIG = 'configs/mask_rcnn_convnext_t_coco.py'
FOLDERS = {'train': 'images/train2017/', 'val': 'images/val2017/', 'test': 'images/val2017/'}


@pytest.fixture
def coco(real_samples: Path) -> Path:
    return real_samples / 'coco_sample'


def test_ground_truth_fed_back_scores_one(coco: Path) -> None:
    config = Config.fromfile(ROOT / T_CONFIG)
    register_all_modules(init_default_scope=False)
    dataset = DATASETS.build(
        dict(
            config.val_dataloader.dataset,
            data_root=str(coco),
            data_prefix=dict(img=FOLDERS['val']),
            pipeline=[dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)],
            _scope_='mmdet',
        )
    )
    ann_file = str(coco / 'annotations' / 'instances_val2017.json')
    metric = METRICS.build(dict(config.val_evaluator, ann_file=ann_file, _scope_='mmdet'))
    metric.dataset_meta = dataset.metainfo
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        info['img_shape'] = info['ori_shape'] = (info['height'], info['width'])
        info = dataset.pipeline(info)
        kept = ~info['gt_ignore_flags']  # crowds are not to be found
        found = dict(
            bboxes=info['gt_bboxes'].tensor[kept],
            labels=torch.from_numpy(info['gt_bboxes_labels'][kept]),
            scores=torch.ones(int(kept.sum())),
            masks=torch.from_numpy(info['gt_masks'].to_ndarray()[kept]).bool(),
        )
        sample = dict(img_id=info['img_id'], ori_shape=info['ori_shape'], pred_instances=found)
        metric.process({}, [sample])
    scores = metric.evaluate(len(dataset))
    assert len(dataset) == 47
    for key in ('bbox_mAP', 'segm_mAP', 'bbox_mAP_75', 'segm_mAP_75'):
        assert scores[f'coco/{key}'] == 1.0, scores


def changes(coco: Path, side: int, epochs: int, train: int, val: int) -> list[str]:
    """The t config changed in data, scale, batch and epochs alone, and how it loads data."""
    scales = f'[({side},{2 * side}),({side + 32},{2 * side})]'
    choice = 'train_dataloader.dataset.pipeline.3.transforms'
    loaders = [
        f'{split}_dataloader.{option}'
        for split in FOLDERS
        for option in (
            f'dataset.data_prefix.img={FOLDERS[split]}',
            f'dataset.indices={train if split == "train" else val}',
            'num_workers=0',
            'persistent_workers=False',
        )
    ]
    return [
        *('--pretrained', 'none', '--cfg-options', f'data_root={coco}', *loaders),
        f'{choice}.0.0.scales={scales}',
        f'{choice}.1.0.scales={scales}',
        f'{choice}.1.1.crop_size=({side // 2},{side})',
        f'{choice}.1.2.scales={scales}',
        'val_dataloader.dataset.pipeline.1.scale=(534,320)',
        'test_dataloader.dataset.pipeline.1.scale=(534,320)',
        'train_dataloader.batch_size=1',
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        'param_scheduler.1.end=36',
        'default_hooks.logger.interval=1',
    ]


def train_killed_and_resumed(work_dir: Path, run_tool, options: list[str]) -> str:
    command = [sys.executable, 'tools/train.py', T_CONFIG, '--work-dir', str(work_dir), *options]
    log = work_dir.with_suffix('.log')
    with (
        log.open('w') as stream,
        subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, env=dict(os.environ)
        ) as process,
    ):
        deadline = time.monotonic() + 400
        while not (work_dir / 'last_checkpoint').exists() and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert (work_dir / 'epoch_1.pth').exists(), log.read_text()[-2000:]
    result = run_tool('tools/train.py', T_CONFIG, '--work-dir', work_dir, '--resume', *options)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def assert_resumed_and_evaluated(output: str, epochs: int, pictures: int) -> None:
    assert 'Resuming from' in output
    assert 'Epoch(train)   [1][' not in output
    assert re.search(rf'Epoch\(train\) +\[{epochs}\]\[', output)
    assert re.search(
        rf'Epoch\(val\) +\[{epochs}\]\[{pictures}/{pictures}\].*coco/segm_mAP: ', output
    )


def test_t_config_trains_is_killed_resumes_and_evaluates(coco, run_tool, tmp_path) -> None:
    options = changes(coco, side=96, epochs=2, train=2, val=2)
    output = train_killed_and_resumed(tmp_path / 'run', run_tool, options)
    assert_resumed_and_evaluated(output, epochs=2, pictures=2)


@pytest.mark.campaign
def test_t_config_on_all_validation_pictures(coco, run_tool, tmp_path) -> None:
    options = changes(coco, side=288, epochs=2, train=8, val=47)
    output = train_killed_and_resumed(tmp_path / 'run', run_tool, options)
    assert_resumed_and_evaluated(output, epochs=2, pictures=47)
    result = run_tool(
        *('tools/test.py', T_CONFIG, tmp_path / 'run' / 'epoch_2.pth'),
        *('--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'pictures'),
        *options[2:],  # --pretrained is training's
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / 'pictures').glob('*'))) == 47


def eight_pictures(annotations: Path) -> list[int]:
    """The lowest ids with two annotations or more, none a crowd, every area 32² or more."""
    truth = COCO(annotations)
    chosen = [
        picture
        for picture in sorted(truth.getImgIds())
        if len(truth.imgToAnns[picture]) >= 2
        and all(a['area'] >= 32**2 and not a['iscrowd'] for a in truth.imgToAnns[picture])
    ]
    return chosen[:8]


def overfitting_config(coco: Path, work_dir: Path) -> Config:
    """Atto on eight training images, which are also those it is tested on."""
    config = Config.fromfile(CONFIGS / 'mask_rcnn_convnext_atto_samples.py')
    annotations = COCO(coco / 'annotations' / 'instances_train2017.json')
    chosen = eight_pictures(coco / 'annotations' / 'instances_train2017.json')
    subset = dict(
        annotations.dataset,
        images=[i for i in annotations.dataset['images'] if i['id'] in chosen],
        annotations=[a for a in annotations.dataset['annotations'] if a['image_id'] in chosen],
    )
    ann_file = work_dir / 'eight.json'
    ann_file.parent.mkdir(parents=True, exist_ok=True)
    ann_file.write_text(json.dumps(subset))
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(512, 256), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    ]
    meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    dataset = dict(
        type='CocoDataset',
        data_prefix=dict(img=str(coco / FOLDERS['train'])),
        ann_file=str(ann_file),
    )
    test = [*load, dict(type='PackDetInputs', meta_keys=meta)]
    # Resized with the image in training.
    train = [load[0], load[2], load[1], dict(type='PackDetInputs')]
    config.train_dataloader.dataset = dict(**dataset, pipeline=train)
    config.train_dataloader.batch_size = 2
    for split in ('val', 'test'):
        config[f'{split}_dataloader'].dataset = dict(**dataset, test_mode=True, pipeline=test)
        config[f'{split}_evaluator'].ann_file = str(ann_file)
    model = config.model
    model.roi_head.bbox_head.num_classes = model.roi_head.mask_head.num_classes = 80
    model.rpn_head.anchor_generator.scales = [6]
    model.train_cfg.rpn_proposal.max_per_img = 150
    model.train_cfg.rcnn.sampler.num = 64
    epochs = 100  # of 8 images / 2 = 4 iterations
    config.train_cfg.max_epochs = config.train_cfg.val_interval = epochs
    config.param_scheduler[1].end = 4 * epochs + 1
    config.default_hooks.checkpoint.interval = epochs
    config.work_dir = config.visualizer.name = str(work_dir)
    return config


@pytest.mark.campaign
def test_atto_learns_eight_real_pictures(coco: Path, tmp_path: Path) -> None:
    runner = Runner.from_cfg(overfitting_config(coco, tmp_path))
    started = time.monotonic()
    runner.train()
    scores = {
        kind: runner.message_hub.get_scalar(f'val/coco/{kind}_mAP_50').current()
        for kind in ('bbox', 'segm')
    }
    seconds = time.monotonic() - started
    print(f'AP50 on the eight images themselves: {scores}, {seconds:.0f} s')
    assert seconds <= 600
    assert scores['bbox'] >= 0.8
    assert scores['segm'] >= 0.7


def test_atto_starts_on_real_pictures(coco: Path, tmp_path: Path) -> None:
    config = overfitting_config(coco, tmp_path)
    config.train_cfg.max_epochs = config.train_cfg.val_interval = 1
    config.train_dataloader.dataset.indices = config.val_dataloader.dataset.indices = 2
    runner = Runner.from_cfg(config)
    runner.train()
    assert 'val/coco/segm_mAP' in runner.message_hub.log_scalars
