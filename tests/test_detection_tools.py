"""Training and testing detectors from the command line, on generated samples."""

import json
import re
import subprocess
from pathlib import Path

import cv2
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import DefaultScope
from pycocotools.coco import COCO

from mmconvnext.checkpoints.convert import from_official
from mmconvnext.checkpoints.formats import MMPRETRAIN
from mmconvnext.command_line.hardware import fit_to_hardware
from mmconvnext.data.detection_samples import write_detection_samples
from tests.conftest import ROOT
from tests.test_tools import assert_one_line_error

CONFIGS = {
    kind: f'configs/{kind}_convnext_atto_samples.py' for kind in ('mask_rcnn', 'cascade_mask_rcnn')
}
T_CONFIG = 'configs/mask_rcnn_convnext_t_coco.py'
COUNT = 4


@pytest.fixture(scope='module')
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'samples'
    return write_detection_samples(root, training=8, validation=COUNT, size=96)


def short_run(samples: Path, *more: str) -> list[str]:
    return [
        *('--cfg-options', f'data_root={samples}', 'train_cfg.max_epochs=2'),
        *(
            'train_cfg.val_interval=2',
            'param_scheduler.1.end=101',
            'default_hooks.logger.interval=1',
        ),
        'model.test_cfg.rcnn.score_thr=0.0',  # of next to nothing learnt, something is found
        'test_evaluator.classwise=True',
        *more,
    ]


@pytest.fixture(scope='module', params=CONFIGS)
def trained(request, tmp_path_factory, samples: Path, run_tool) -> tuple[str, Path, str]:
    """Config, checkpoint of the last epoch, and what the training printed."""
    config, work_dir = CONFIGS[request.param], tmp_path_factory.mktemp('work') / request.param
    result = run_tool('tools/train.py', config, '--work-dir', work_dir, *short_run(samples))
    assert result.returncode == 0, result.stderr
    return config, work_dir / 'epoch_2.pth', result.stdout + result.stderr


def run_test(run_tool, samples: Path, work_dir: Path, config: str, checkpoint: Path, *arguments):
    command = ('tools/test.py', config, checkpoint, '--work-dir', work_dir, *arguments)
    result = run_tool(*command, *short_run(samples))
    assert result.returncode == 0, result.stderr
    return result


def last_scores(result: subprocess.CompletedProcess) -> str:
    return next(line for line in result.stdout.splitlines() if 'coco/bbox_mAP ' in line)


def test_training_validates_and_logs(trained) -> None:
    _, checkpoint, output = trained
    assert checkpoint.is_file()
    assert re.search(r'Epoch\(train\) +\[2\]\[2/2\].* base_lr: .*stem_lr: .*loss_mask: ', output)
    assert re.search(r'coco/bbox_mAP_50: \S+ .*coco/segm_mAP_50: ', output)
    assert 'AP medium' in output, 'a table of the classes'


def test_writes_pictures_json_and_a_table(trained, samples, run_tool, tmp_path) -> None:
    config, checkpoint, _ = trained
    folders = ('--show-dir', tmp_path / 'pictures', '--out', tmp_path / 'out')
    result = run_test(run_tool, samples, tmp_path / 'run', config, checkpoint, *folders)
    assert 'coco/segm_mAP ' in last_scores(result)
    pictures = sorted((tmp_path / 'pictures').glob('*'))
    assert len(pictures) == COUNT
    assert all(cv2.imread(str(path)).shape[0] >= 96 for path in pictures)
    truth = COCO(samples / 'annotations' / 'instances_val2017.json')
    for kind in ('bbox', 'segm'):
        found = json.loads((tmp_path / 'out' / f'predictions.{kind}.json').read_text())
        assert found
        assert {entry['category_id'] for entry in found} <= {1, 3, 4, 7}
        truth.loadRes(str(tmp_path / 'out' / f'predictions.{kind}.json'))
    assert 'AP medium' in result.stdout + result.stderr


def test_augmentation_of_the_test(trained, samples, run_tool, tmp_path) -> None:
    config, checkpoint, _ = trained
    result = run_test(run_tool, samples, tmp_path / 'run', config, checkpoint, '--tta')
    assert 'coco/segm_mAP ' in last_scores(result)


def test_released_models_test_the_same(trained, samples, run_tool, tmp_path) -> None:
    """As the paper's repository wrote them (mmdet 2), and as mmdet 3 releases them (mmpretrain)."""
    config, checkpoint, _ = trained
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    backbone = {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbo')}
    heads = {key: value for key, value in state.items() if not key.startswith('backbone.')}
    theirs = {f'backbone.{k}': v for k, v in from_official(backbone, MMPRETRAIN).items()}
    assert 'backbone.stages.0.0.depthwise_conv.weight' in theirs
    meta = {'mmdet_version': '2.18.0', 'CLASSES': ('circle',), 'epoch': 36}
    torch.save({'meta': meta, 'state_dict': state}, tmp_path / 'paper.pth')
    torch.save({'meta': meta, 'state_dict': theirs | heads}, tmp_path / 'mmdet.pth')
    files = (tmp_path / 'paper.pth', tmp_path / 'mmdet.pth')  # the first has our own tensors
    scores = [
        last_scores(run_test(run_tool, samples, tmp_path / 'run', config, file)) for file in files
    ]
    assert scores[0] == scores[1]


def test_another_detector_s_checkpoint_is_refused(trained, samples, run_tool, tmp_path) -> None:
    config, checkpoint, _ = trained
    (other,) = set(CONFIGS.values()) - {config}
    command = ('tools/test.py', other, checkpoint, '--work-dir', tmp_path / 'run')
    result = run_tool(*command, *short_run(samples))
    assert_one_line_error(result, 'does not fit the model', 'roi_head.')


def test_a_broken_picture_is_named(samples, run_tool, tmp_path) -> None:
    root = write_detection_samples(tmp_path / 'broken', training=4, validation=1, size=64)
    for picture in (root / 'train2017').glob('*.jpg'):
        picture.write_bytes(b'')
    command = ('tools/train.py', CONFIGS['mask_rcnn'], '--work-dir', tmp_path / 'run')
    result = run_tool(*command, *short_run(root, 'train_dataloader.num_workers=1'))
    assert_one_line_error(result, 'train2017/', '.jpg: expected a readable image')


def test_missing_coco_is_one_line(run_tool, tmp_path) -> None:
    result = run_tool(ROOT / 'tools' / 'train.py', ROOT / T_CONFIG, cwd=tmp_path)
    assert_one_line_error(
        result,
        'data: data/coco/train2017/ does not exist',
        'prepare_coco.py',
        'data_root=DIR',
    )


def test_reproduce_prints_both_figures(samples, run_tool, tmp_path) -> None:
    """With random weights under a published name, on the tiny samples."""
    config = Config.fromfile(ROOT / T_CONFIG)
    config.model.backbone.init_cfg = None
    fit_to_hardware(config)
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    path = tmp_path / 'mask_rcnn_convnext_tiny_1k_3x.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    options = [
        f'data_root={samples}',
        'test_dataloader.dataset.pipeline.1.scale=(96,96)',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        "test_dataloader.dataset.metainfo.classes=('circle','square','triangle','ring')",
        'model.test_cfg.rcnn.score_thr=0.9',
    ]
    result = run_tool(
        *('tools/reproduce.py', path, '--work-dir', tmp_path / 'w', '--cfg-options', *options)
    )
    assert result.returncode == 0, result.stderr[-2000:]
    for metric, published in (('bbox', '46.2'), ('segm', '41.7')):
        row = rf'_t_coco +│ coco/{metric}_mAP +│ \d+\.\d\d +│ {published} +│ the paper'
        assert re.search(row, result.stdout), result.stdout
