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
    (
        'optim_wrapper.paramwise_cfg.custom_keys={"a.b": {"lr_mull": 1}}',
        'optim_wrapper.paramwise_cfg.custom_keys.a.b.lr_mull',
        'lr_mult',
    ),
    (
        'train_dataloader.dataset.metainfo={"CLASSES": ()}',
        'train_dataloader.dataset.metainfo.CLASSES',
        'classes',
    ),
    ('runner=dict(type="IterBasedRunner")', '', 'train_cfg'),
    ('data=dict(samples_per_gpu=2)', '', 'train_dataloader'),
    ('lr_config=dict(policy="poly")', '', 'param_scheduler'),
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
    ('tta_model.type="SegTTAmodel"', '', 'SegTTAModel'),
    ('model.decode_head.act_cfg.type="RELU"', '', 'ELU'),
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
    ('custom_hooks=[3]', 'custom_hooks.0', ''),
    ('custom_hooks="[dict(type=\'EMAHook\')]"', '', ''),
    ('param_scheduler=3', '', ''),
    ('optim_wrapper.paramwise_cfg.custom_keys="{\'backbone\': 0.1}"', '', ''),
    (
        'optim_wrapper.paramwise_cfg.custom_keys={"backbone": 0.1}',
        'optim_wrapper.paramwise_cfg.custom_keys.backbone',
        '',
    ),
    ('val_evaluator=None', '', ''),
    ('train_cfg=None', '', ''),
    ('model.decode_head.align_corners="no"', '', ''),
    ('train_dataloader.dataset.img_suffix=3', '', ''),
    ('train_dataloader.persistent_workers="yes"', '', ''),
    ('train_dataloader.drop_last="no"', '', ''),
    ('train_dataloader.timeout=-1', '', ''),
    ('train_dataloader.dataset.pipeline.0.color_type="colour"', '', ''),
    ('train_dataloader.dataset.pipeline.0.imdecode_backend="opencv"', '', ''),
    ('optim_wrapper.optimizer.betas=0.9', '', ''),
    ('optim_wrapper.dtype="float8"', '', ''),
    ('optim_wrapper.loss_scale="dynamik"', '', ''),
    ('custom_hooks=[dict(type="EMAHook", momentum=2)]', 'custom_hooks.0.momentum', ''),
    ('custom_hooks=[dict(type="EMAHook", priority="LOWW")]', 'custom_hooks.0.priority', ''),
    ('default_hooks.checkpoint.rule="greatr"', '', ''),
    ('param_scheduler.0.begin=2000', 'param_scheduler.0.end', ''),
    ('val_evaluator.iou_metrics=["mIou"]', '', ''),
    ('env_cfg.cudnn_benchmark="maybe"', '', ''),
    ('train_cfg.by_epoch="no"', '', ''),
    ('log_processor.window_size=0', '', ''),
    ('launcher="pytorc"', '', ''),
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
    ('model.test_cfg.rcnn.nms.type="nmss"', '', ''),
    ('val_evaluator.metric=["bbx"]', '', ''),
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


def changed(config: Config, key: str, value: object) -> Config:
    config = copy.deepcopy(config)
    if '.' in key:
        config.merge_from_dict({key: value})
    else:
        config[key] = value
    return config


@pytest.mark.parametrize(('name', 'override', 'begin', 'meant'), MISTAKES)
def test_mistake_is_answered(configs, name: str, override: str, begin: str, meant: str) -> None:
    key, _, value = override.partition('=')
    config = changed(configs[name], key, eval(value))
    (line,) = find_mistakes(config)
    assert line.startswith(f'{begin or key}: expected ')
    assert f'; did you mean {meant}?' in line if meant else 'did you mean' not in line
    assert len(line) < 250


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


class Own:
    def __init__(self, **options: object) -> None: ...


def test_only_some_entries_are_checked(configs) -> None:
    config = copy.deepcopy(configs[SEGMENTOR])
    config.merge_from_dict({'models.a': 1, 'optim_wrapper.a': 1, 'test_dataloader.a': 1})
    config.val_evaluator = None
    (line,) = find_mistakes(config, ['model', 'test_dataloader'])
    assert line.startswith('test_dataloader.a: ')


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
        'optim_wrapper.clip_grad.max_norm=float("inf")',
        'runner=dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)',  # is used
        'optimizer=dict(type="SGD")',  # many files have it and another in optim_wrapper
        'train_dataloader.dataset.pipeline=[dict(type=Own, prob=7, ratio=7)]',
        'custom_hooks=[dict(type=Own, interval=0.5)]',
        'param_scheduler=dict(a=[dict(type="LinearLR", start_factor=0.1)])',
    ],
)
def test_no_false_alarm(configs, override: str) -> None:
    key, _, value = override.partition('=')
    value = eval(value)
    if key == 'model.backbone':
        value['_delete_'] = True
    assert find_mistakes(changed(configs[SEGMENTOR], key, value)) == []


def test_configs_here_have_no_mistakes() -> None:
    paths = sorted(CONFIGS.glob('*.py'))
    assert len(paths) > 40
    assert {path.name: found for path in paths if (found := find_mistakes(read(path)))} == {}


# Mistakes in configs of mmseg and mmdet: keys that no class or run takes, and a missing class.
LRASPP = 'mobilenet-v3-d8{}_lraspp_4xb4-320k_cityscapes-512x1024.py'
REAL = {
    **{LRASPP.format(kind): {'runner'} for kind in ('', '-s', '-scratch', '-scratch-s')},
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
    'ga-fast-rcnn_r50-caffe_fpn_1x_coco.py': {'data', 'optimizer_config'},
    'qdtrack_faster-rcnn_r50_fpn_4e_base.py': {
        *('train_dataloader', 'val_dataloader', 'test_dataloader'),
    },
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
