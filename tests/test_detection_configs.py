"""Every detection config against the table of recipes it was written from.

Sources: the paper's table 3; facebookresearch/ConvNeXt @048efce, object_detection/configs/; for V2
arXiv 2301.00808 and mmdet 3.3.0, projects/ConvNeXt-V2.
"""

from itertools import pairwise
from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

import mmconvnext
from mmconvnext.analysis.cost.complexity import count
from tests.conftest import CONFIGS
from tests.reference import by_config

WEIGHTS = 'https://dl.fbaipublicfiles.com/convnext/'
FCMAE = 'convnextv2/pt_only/convnextv2_{}_1k_224_fcmae.pt'

# arch, lr, decay, num_layers, drop path, mixed precision, weights.
RECIPES = {
    'mask_rcnn_convnext_t_coco': (
        *('tiny', 1e-4, 0.95, 6, 0.4, True),
        'convnext_tiny_1k_224.pth',
    ),
    'cascade_mask_rcnn_convnext_t_coco': (
        *('tiny', 2e-4, 0.7, 6, 0.4, True),
        'convnext_tiny_1k_224.pth',
    ),
    'cascade_mask_rcnn_convnext_s_coco': (
        *('small', 2e-4, 0.7, 12, 0.6, True),
        'convnext_small_1k_224.pth',
    ),
    'cascade_mask_rcnn_convnext_b_coco': (
        *('base', 2e-4, 0.8, 12, 0.7, True),
        'convnext_base_1k_224.pth',
    ),
    'cascade_mask_rcnn_convnext_b_in22k_coco': (
        *('base', 1e-4, 0.8, 12, 0.6, True),
        'convnext_base_22k_224.pth',
    ),
    'cascade_mask_rcnn_convnext_l_in22k_coco': (
        *('large', 1e-4, 0.7, 12, 0.7, False),
        'convnext_large_22k_224.pth',
    ),
    'cascade_mask_rcnn_convnext_xl_in22k_coco': (
        *('xlarge', 1e-4, 0.7, 12, 0.8, False),
        'convnext_xlarge_22k_224.pth',
    ),
    **{
        f'mask_rcnn_convnextv2_{arch[0]}_coco_lsj': (
            *(arch, 1e-4, 0.95, 12, 0.4, True),
            FCMAE.format(arch),
        )
        for arch in ('base', 'large', 'huge')
    },
}
V1 = [name for name in RECIPES if 'v2' not in name]
V2 = [name for name in RECIPES if 'v2' in name]
CASCADES = [name for name in RECIPES if name.startswith('cascade')]
COSTS, RESULTS = by_config('costs'), by_config('coco')


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_every_config_is_held_against_the_tables() -> None:
    # Of a roadmap's step nobody published results: tests/studies/roadmap/test_configs.py.
    names = (path.stem for path in CONFIGS.glob('*_coco*.py'))
    configs = {name for name in names if 'roadmap' not in name}
    assert configs == RECIPES.keys() == RESULTS.keys()


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name: str) -> None:
    config = load(name)
    arch, lr, decay, num_layers, drop_path, amp, weights = RECIPES[name]
    backbone, wrapper = config.model.backbone, config.optim_wrapper
    detector = 'CascadeRCNN' if name in CASCADES else 'MaskRCNN'
    assert config.model.type == f'mmconvnext.{detector}'
    assert backbone.type == 'mmconvnext.ConvNeXt'
    assert backbone.arch == arch
    assert backbone.drop_path_rate == drop_path
    assert backbone.get('use_grn', False) is (name in V2)
    assert backbone.layer_scale_init_value == (0.0 if name in V2 else 1.0)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=WEIGHTS + weights)
    assert wrapper.type == ('AmpOptimWrapper' if amp else 'OptimWrapper')
    assert wrapper.optimizer == dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05)
    assert wrapper.constructor == 'mmconvnext.LayerDecayOptimWrapperConstructor'
    assert wrapper.paramwise_cfg == dict(decay_rate=decay, decay_type='layer_wise')
    # The constructor's own choice where none is given: tests/optim/test_layer_decay.py.
    assert num_layers == (12 if mmconvnext.backbones.ARCHITECTURES[arch].depths[2] > 9 else 6)
    assert not wrapper.get('clip_grad')
    assert config.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
    pictures = 4 if name in V2 else 2
    assert config.train_dataloader.batch_size == pictures
    assert config.auto_scale_lr == dict(enable=False, base_batch_size=8 * pictures)
    assert config.custom_imports.imports == ['mmconvnext']


@pytest.mark.parametrize('name', RECIPES)
def test_heads_and_neck(name: str) -> None:
    model = load(name).model
    assert model.neck == dict(type='FPN', out_channels=256, num_outs=5), "the backbone's channels"
    stock = stock_model('cascade-mask-rcnn' if name in CASCADES else 'mask-rcnn')
    for part in ('rpn_head', 'train_cfg', 'data_preprocessor'):
        assert plain(model[part]) == plain(stock[part]), part
    box_heads, stock_heads = model.roi_head.pop('bbox_head'), stock.roi_head.pop('bbox_head')
    assert plain(model.roi_head) == plain(stock.roi_head)
    soft = dict(nms=dict(type='soft_nms', iou_threshold=0.5)) if name in V2 else {}
    assert plain(model.test_cfg) == plain(
        dict(rpn=stock.test_cfg.rpn, rcnn={**stock.test_cfg.rcnn, **soft})
    )
    if name not in CASCADES:
        assert plain(box_heads) == plain(stock_heads)


def stock_model(kind: str) -> Config:
    """mmdet's own, whose values the official configs have too."""
    path = Path(mmdet.__path__[0], f'.mim/configs/_base_/models/{kind}_r50_fpn.py')
    return Config.fromfile(path).model


def plain(value: object) -> object:
    """Sequences as lists, so that (0.1, 0.2) equals [0.1, 0.2]."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize('name', CASCADES)
def test_box_heads_of_a_cascade(name: str) -> None:
    """4conv1fc-giou, as in the two of mmdet's own configs that have them."""
    path = 'cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
    theirs = Config.fromfile(
        Path(mmdet.__path__[0], '.mim/configs/convnext', path), import_custom_modules=False
    )
    assert plain(load(name).model.roi_head.bbox_head) == plain(theirs.model.roi_head.bbox_head)


@pytest.mark.parametrize('name', V1)
def test_augmentation_with_the_crop_branch(name: str) -> None:
    pipeline = load(name).train_dataloader.dataset.pipeline
    load_image, load_annotations, flip, choice, pack = pipeline
    assert load_image.type == 'LoadImageFromFile'
    assert load_annotations == dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    assert flip == dict(type='RandomFlip', prob=0.5)
    assert choice.type == 'RandomChoice'
    sides = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    multi_scale = dict(
        type='RandomChoiceResize', scales=[(side, 1333) for side in sides], keep_ratio=True
    )
    smaller = dict(multi_scale, scales=[(side, 1333) for side in (400, 500, 600)])
    crop = dict(
        type='RandomCrop',
        crop_type='absolute_range',
        crop_size=(384, 600),
        allow_negative_crop=True,
    )
    assert choice.transforms == [[multi_scale], [smaller, crop, multi_scale]]
    assert pack.type == 'PackDetInputs'


@pytest.mark.parametrize('name', V2)
def test_large_scale_jittering(name: str) -> None:
    pipeline = load(name).train_dataloader.dataset.pipeline
    steps = {step.type: step for step in pipeline}
    assert list(steps)[2:] == [
        *('RandomResize', 'RandomCrop', 'FilterAnnotations', 'RandomFlip', 'PackDetInputs')
    ]
    assert steps['RandomResize'].scale == steps['RandomCrop'].crop_size == (1024, 1024)
    assert steps['RandomResize'].ratio_range == (0.1, 2.0)
    assert steps['RandomCrop'].recompute_bbox
    assert steps['RandomCrop'].allow_negative_crop


@pytest.mark.parametrize('name', RECIPES)
def test_data_and_evaluation(name: str) -> None:
    config = load(name)
    train, val = config.train_dataloader, config.val_dataloader
    assert train.dataset.type == val.dataset.type == 'CocoDataset'
    assert train.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=32)
    assert train.dataset.data_prefix == dict(img='train2017/')
    assert val.dataset.data_prefix == dict(img='val2017/')
    assert val.dataset.pipeline[1] == dict(type='Resize', scale=(1333, 800), keep_ratio=True)
    assert config.test_evaluator.type == 'mmconvnext.CocoMetric'
    assert config.test_evaluator.metric == ['bbox', 'segm']
    assert config.test_evaluator.ann_file == 'data/coco/annotations/instances_val2017.json'
    assert config.tta_model.type == 'mmconvnext.MaskTTAModel'


@pytest.mark.parametrize('name', RECIPES)
def test_macs_and_parameters_equal_the_published(name: str) -> None:
    macs, parameters = count(load(name), 800, 1280)
    assert macs / 1e9 == pytest.approx(COSTS[name]['gmacs'], abs=0.05)
    assert RESULTS[name]['parameters_m'] in (None, round(parameters / 1e6))


def official_learning_rate(base: float, t: int, per_epoch: int, warmup: int) -> float:
    lr = base * 0.1 ** sum(t >= epoch * per_epoch for epoch in (27, 33))
    return lr * (0.001 + 0.999 * t / warmup) if t < warmup else lr


@pytest.mark.parametrize('name', RECIPES)
def test_learning_rate_equals_the_formula(name: str) -> None:
    config = load(name)
    base, per_epoch, warmup = config.optim_wrapper.optimizer.lr, 100, 1000 if name in V2 else 500
    wrapper = build_optim_wrapper(
        torch.nn.Linear(1, 1), dict(type='OptimWrapper', optimizer=config.optim_wrapper.optimizer)
    )
    by_epoch, by_iteration = [], []
    for scheduler in config.param_scheduler:
        built = PARAM_SCHEDULERS.build(dict(**scheduler), default_args=dict(optimizer=wrapper))
        (by_epoch if built.by_epoch else by_iteration).append(built)
    wrapper.step()  # mmengine warns of schedulers that go first
    for iteration in range(36 * per_epoch):
        expected = official_learning_rate(base, iteration, per_epoch, warmup)
        assert wrapper.get_lr()['lr'][0] == pytest.approx(expected, rel=1e-9), iteration
        ends_epoch = (iteration + 1) % per_epoch == 0
        for scheduler in by_iteration + by_epoch * ends_epoch:
            scheduler.step()


def test_augmentation_of_a_test_scales_and_flips() -> None:
    resizes, flips = load('mask_rcnn_convnext_t_coco').tta_pipeline[1].transforms[:2]
    assert [resize.scale[1] for resize in resizes] == list(range(400, 1201, 100))
    assert all(a.scale[1] < b.scale[1] for a, b in pairwise(resizes))
    assert [flip.prob for flip in flips] == [0, 1]
