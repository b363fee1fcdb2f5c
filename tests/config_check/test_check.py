"""Mistakes in configs are answered; configs without mistakes are not."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.config_check import ConfigError, find_mistakes, require_correct
from tests.conftest import CONFIGS

SEGMENTOR = 'upernet_convnext_t_ade20k'
DETECTOR = 'mask_rcnn_convnext_t_coco'
CLASSIFIER = 'convnext_t_in1k'

# The override, what the answer begins with, and the name that was meant.
OF_SEGMENTOR = [
    # Keys
    ('optim_wraper.optimizer.lr=1', 'optim_wraper', 'optim_wrapper'),
    ('find_unused_parameter=True', 'find_unused_parameter', 'find_unused_parameters'),
    ('train_dataloader.batchsize=2', '', 'batch_size'),
    ('train_dataloader.dataset.pipline=[]', '', 'pipeline'),
    ('train_dataloader.dataset.pipeline.2.ratio_rang=1', '', 'ratio_range'),
    ('train_dataloader.dataset.pipeline.2.keep_ration=True', '', 'keep_ratio'),
    ('train_dataloader.sampler.shufle=True', '', 'shuffle'),
    ('val_dataloader.dataset.reduce_zero_lable=True', '', 'reduce_zero_label'),
    ('val_evaluator.iou_metric=1', '', 'iou_metrics'),
    ('optim_wrapper.optimizer.learning_rate=0.1', '', 'lr'),
    ('optim_wrapper.clip_grad.maxnorm=1.0', '', 'max_norm'),
    ('optim_wrapper.paramwise_cfg.decayrate=0.9', '', 'decay_rate'),
    ('optim_wrapper.accumulative_count=2', '', 'accumulative_counts'),
    ('param_scheduler.0.start_facter=1', '', 'start_factor'),
    ('model.backbone.droppath=0.1', '', 'drop_path_rate'),
    ('model.backbone.init_cfg.chekpoint="a"', '', 'checkpoint'),
    ('model.decode_head.chanels=3', '', 'channels'),
    ('model.decode_head.norm_cfg.requiresgrad=True', '', 'requires_grad'),
    ('model.auxiliary_head.loss_decode.loss_wieght=3', '', 'loss_weight'),
    ('model.data_preprocessor.bgr_to_rbg=True', '', 'bgr_to_rgb'),
    ('model.test_cfg.mod="whole"', '', 'mode'),
    ('train_cfg.maxiters=5', '', 'max_iters'),
    ('test_cfg.mod=1', '', ''),
    ('default_hooks.checkpoint.intervall=5', '', 'interval'),
    ('default_hooks.checkpont.interval=3', 'default_hooks.checkpont', 'checkpoint'),
    ('custom_hooks=[dict(type="EMAHook", momentm=0.1)]', 'custom_hooks.0.momentm', 'momentum'),
    ('custom_hooks=[dict(momentum=0.1)]', 'custom_hooks.0.type', ''),
    ('env_cfg.cudnn_benchmarc=True', '', 'cudnn_benchmark'),
    ('env_cfg.mp_cfg.mp_start="fork"', '', 'mp_start_method'),
    ('randomness.sed=1', '', 'seed'),
    ('auto_scale_lr.base_batchsize=2', '', 'base_batch_size'),
    ('log_processor.by_epochs=False', '', 'by_epoch'),
    # Classes
    ('model.decode_head.type="UPerHed"', '', 'UPerHead'),
    ('model.backbone.type="mmconvnext.ConvNxt"', '', 'mmconvnext.ConvNeXt'),
    ('model.backbone.init_cfg.type="Pretraind"', '', 'Pretrained'),
    ('train_dataloader.dataset.type="ADE20kDataset"', '', 'ADE20KDataset'),
    ('train_dataloader.dataset.pipeline.2.type="RandomResise"', '', 'RandomResize'),
    ('val_evaluator.type="IouMetric"', '', 'IoUMetric'),
    ('optim_wrapper.type="AmpOptimWraper"', '', 'AmpOptimWrapper'),
    ('optim_wrapper.optimizer.type="AdmW"', '', 'AdamW'),
    (
        'optim_wrapper.constructor="mmconvnext.LayerDecayConstructor"',
        '',
        'mmconvnext.LayerDecayOptimWrapperConstructor',
    ),
    ('param_scheduler.0.type="LinarLR"', '', 'LinearLR'),
    ('visualizer.vis_backends.0.type="TensorboardBackend"', '', 'TensorboardVisBackend'),
    ('train_cfg.type="IterBasedTrainLop"', '', 'IterBasedTrainLoop'),
    ('runner_type="Runer"', '', 'Runner'),
    ('default_scope="mmsegg"', '', 'mmseg'),
    ('default_scope=3', '', ''),
    ('optim_wrapper.constructor=3', '', ''),
    # Types and values
    ('train_dataloader.batch_size="four"', '', ''),
    ('train_dataloader.batch_size=-1', '', ''),
    ('train_dataloader.batch_size=0', '', ''),
    ('train_dataloader.batch_size=1000000000', '', ''),
    ('train_dataloader.num_workers=-2', '', ''),
    ('train_dataloader.dataset.pipeline.4.prob=2', '', ''),
    ('train_dataloader.dataset.data_root=5', '', ''),
    ('train_dataloader=3', '', ''),
    ('optim_wrapper="AdamW"', '', ''),
    ('optim_wrapper.optimizer.lr="fast"', '', ''),
    ('optim_wrapper.optimizer.lr=-1.0', '', ''),
    ('optim_wrapper.optimizer.lr=float("nan")', '', ''),
    ('optim_wrapper.optimizer.betas=(0.9, 1.5)', '', ''),
    ('optim_wrapper.accumulative_counts=0', '', ''),
    ('param_scheduler.0.by_epoch="no"', '', ''),
    ('train_cfg.max_iters=0', '', ''),
    ('train_cfg.val_interval=0.5', '', ''),
    ('default_hooks.logger.interval=0', '', ''),
    ('randomness.seed=1000000000000', '', ''),
    ('model.decode_head.channels=1000000000', '', ''),
    ('model.decode_head.dropout_ratio=1.5', '', ''),
    ('model.data_preprocessor.std=[0, 1, 2]', '', ''),
    ('log_level="LOUD"', '', ''),
    ('resume="yes"', '', ''),
    ('work_dir=3', '', ''),
]
OF_DETECTOR = [
    ('model.rpn_head.anchor_generator.scale=[8]', '', 'scales'),
    ('model.neck.out_chanels=3', '', 'out_channels'),
    ('model.roi_head.bbox_head.num_class=3', '', 'num_classes'),
    ('model.roi_head.bbox_head.num_classes="eighty"', '', ''),
    ('model.roi_head.bbox_roi_extractor.roi_layer.output_sise=7', '', 'output_size'),
    ('model.train_cfg.rpm={}', '', 'rpn'),
    ('model.train_cfg.rpn.assigner.pos_iou_thresh=0.5', '', 'pos_iou_thr'),
    ('model.test_cfg.rcnn.score_thresh=0.5', '', 'score_thr'),
    ('model.test_cfg.rcnn.nms.iou_thresh=0.5', '', 'iou_threshold'),
    ('train_dataloader.dataset.filter_cfg.min_sise=3', '', 'min_size'),
    ('train_dataloader.batch_sampler.type="AspectBatchSampler"', '', 'AspectRatioBatchSampler'),
    ('val_evaluator.metrics="bbox"', '', 'metric'),
    ('param_scheduler.1.milestone=[3]', '', 'milestones'),
    ('train_cfg.max_epochs=0', '', ''),
]
OF_CLASSIFIER = [
    ('model.num_classes=0', '', ''),
    ('model.label_smoothin=0.1', '', 'label_smoothing'),
    ('model.backbone.drop_path_rate=1', '', ''),
    ('custom_hooks.0.momentm=1', '', ''),
]
MISTAKES = [
    *((SEGMENTOR, *mistake) for mistake in OF_SEGMENTOR),
    *((DETECTOR, *mistake) for mistake in OF_DETECTOR),
    *((CLASSIFIER, *mistake) for mistake in OF_CLASSIFIER),
]


@pytest.fixture(scope='module')
def configs() -> dict[str, Config]:
    names = (SEGMENTOR, DETECTOR, CLASSIFIER)
    return {name: Config.fromfile(CONFIGS / f'{name}.py') for name in names}


@pytest.mark.parametrize(('name', 'override', 'begin', 'meant'), MISTAKES)
def test_mistake_is_answered(configs, name: str, override: str, begin: str, meant: str) -> None:
    key, _, value = override.partition('=')
    config = copy.deepcopy(configs[name])
    config.merge_from_dict({key: eval(value)})
    (line,) = find_mistakes(config)
    assert line.startswith(f'{begin or key}: expected ')
    assert line.endswith(f'; did you mean {meant}?') if meant else 'did you mean' not in line


def test_all_mistakes_are_named_at_once(configs) -> None:
    config = copy.deepcopy(configs[SEGMENTOR])
    config.merge_from_dict({'randomness.sed': 1, 'train_cfg.max_iters': 0})
    with pytest.raises(ConfigError) as caught:
        require_correct(config)
    lines = f'error: {caught.value}'.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ['error:', 'train_cfg.max_iters:'],
        ['error:', 'randomness.sed:'],
    ]


def test_a_copied_mistake_is_named_once(configs) -> None:
    config = copy.deepcopy(configs[SEGMENTOR])
    config.val_dataloader.batchsize = config.test_dataloader.batchsize = 1
    (line,) = find_mistakes(config)
    assert line.startswith('val_dataloader.batchsize: ')


@pytest.mark.parametrize(
    'override',
    [
        'dataset_train=1',  # a variable of the file
        'val_evaluator_coco=1',
        'train_cfg.max_iters=1e5',
        'default_hooks.checkpoint.interval=-1',
        'default_hooks.step_watch.tolerate=3',
        'default_hooks.step_watch=None',
        'optim_wrapper.loss_scale=512.0',
        'optim_wrapper.clip_grad=dict(type="value", clip_value=1.0)',
        'model.backbone=dict(type="mmpretrain.ConvNeXt", whatever=1)',  # not installed
        'model.backbone.init_cfg.sha256="00"',
        'train_dataloader.dataset.data_prefix.img_path2="a"',
        'compile=True',
        'param_scheduler=dict(a=[dict(type="LinearLR", start_factor=0.1)])',
    ],
)
def test_no_false_alarm(configs, override: str) -> None:
    key, _, value = override.partition('=')
    config = copy.deepcopy(configs[SEGMENTOR])
    value = eval(value)
    if key == 'model.backbone':
        value['_delete_'] = True
    if '.' in key:
        config.merge_from_dict({key: value})
    else:
        config[key] = value
    assert find_mistakes(config) == []


def test_configs_here_have_no_mistakes() -> None:
    paths = sorted(CONFIGS.glob('*.py'))
    assert len(paths) > 40
    assert {path.name: found for path in paths if (found := find_mistakes(read(path)))} == {}


# Mistakes in configs of mmseg and mmdet: keys that no class or run takes, and a missing class.
REAL = {
    'bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py': {'models'},
    'bytetrack_yolox_x_8xb4-80e_crowdhuman-mot20train_test-mot20test.py': {'test_evaluator.type'},
    'bytetrack_yolox_x_8xb4-amp-80e_crowdhuman-mot20train_test-mot20test.py': {
        'test_evaluator.type'
    },
    'cascade-rpn_r50-caffe_fpn_1x_coco.py': {
        'model.rpn_head.stages.0.sampling',
        'model.rpn_head.stages.1.sampling',
    },
    'faster-rcnn_r50_fpn_1x_voc0712-cocofmt.py': {'val_evaluator.eval_mode'},
    'fcos_swinb_fpn_8x4_sample1e-3_mstrain_v3det_2x.py': {'model.neck.force_grad_on_level'},
}


def stock(pattern: str) -> Iterator[Path]:
    for package in ('mmseg', 'mmdet'):
        folder = Path(pytest.importorskip(package).__file__).parent / '.mim' / 'configs'
        for path in sorted(folder.rglob('*.py')):
            if '_base_' not in path.parts and re.search(pattern, path.name):
                yield path


def read(path: Path) -> Config:
    return Config.fromfile(path, import_custom_modules=False)


def false_alarms(pattern: str) -> tuple[int, dict[str, set[str]]]:
    count, wrong = 0, {}
    for path in stock(pattern):
        try:
            config = read(path)
        except Exception:  # a base is missing, or a package
            continue
        count += 'model' in config
        keys = {line.split(':')[0] for line in find_mistakes(config)}
        if keys != REAL.get(path.name, set()):
            wrong[path.name] = keys
    return count, wrong


def test_stock_convnext_and_swin_configs_have_no_mistakes() -> None:
    count, wrong = false_alarms('convnext|swin-t')
    assert wrong == {}
    assert count >= 25


@pytest.mark.campaign
def test_stock_configs_have_no_mistakes() -> None:
    count, wrong = false_alarms('')
    assert wrong == {}
    assert count >= 1400
