"""Every config against the table of recipes it was written from, and what it builds."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmseg.datasets import ADE20KDataset
from mmseg.registry import MODELS

import mmconvnext
from mmconvnext.analysis.cost.complexity import build_on_meta, count
from mmconvnext.data import detection_samples
from mmconvnext.data import samples as segmentation_samples
from mmconvnext.studies.roadmap import RoadmapNet
from tests.conftest import CONFIGS
from tests.reference import by_config

WEIGHTS = 'https://dl.fbaipublicfiles.com/convnext/'

# arch, crop, drop path, lr, num_layers, mixed precision, GRN, weights. Sources: the paper's table 4
# and facebookresearch/ConvNeXt @048efce, semantic_segmentation/; V2: see the configs.
RECIPES = {
    't_ade20k': ('tiny', 512, 0.4, 1e-4, 6, True, False, 'convnext_tiny_1k_224.pth'),
    's_ade20k': ('small', 512, 0.3, 1e-4, 12, True, False, 'convnext_small_1k_224.pth'),
    'b_ade20k': ('base', 512, 0.4, 1e-4, 12, True, False, 'convnext_base_1k_224.pth'),
    'b_in22k_ade20k_640': ('base', 640, 0.4, 1e-4, 12, True, False, 'convnext_base_22k_224.pth'),
    'l_in22k_ade20k_640': ('large', 640, 0.4, 1e-4, 12, False, False, 'convnext_large_22k_224.pth'),
    'xl_in22k_ade20k_640': (
        *('xlarge', 640, 0.4, 8e-5, 12, False, False),
        'convnext_xlarge_22k_224.pth',
    ),
    'v2_b_ade20k': (
        *('base', 512, 0.4, 1e-4, 12, True, True),
        'convnextv2/im1k/convnextv2_base_1k_224_ema.pt',
    ),
    'v2_l_ade20k': (
        *('large', 512, 0.4, 1e-4, 12, False, True),
        'convnextv2/im1k/convnextv2_large_1k_224_ema.pt',
    ),
    'v2_h_ade20k': (
        *('huge', 512, 0.4, 1e-4, 12, False, True),
        'convnextv2/im1k/convnextv2_huge_1k_224_ema.pt',
    ),
}
COSTS = by_config('costs')
# Classifiers: test_classification_configs.py.
LEAVES = sorted(
    path for path in CONFIGS.glob('*.py') if not re.search(r'_in1k|^roadmap_', path.stem)
)


def stem(name: str) -> str:
    return f'upernet_convnext{name if name.startswith("v2") else "_" + name}'


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{stem(name)}.py')


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name: str) -> None:
    config = load(name)
    arch, crop, drop_path, lr, num_layers, amp, grn, weights = RECIPES[name]
    backbone = config.model.backbone
    assert backbone.type == 'mmconvnext.ConvNeXt'
    assert backbone.arch == arch
    assert backbone.drop_path_rate == drop_path
    assert backbone.get('use_grn', False) is grn
    assert backbone.layer_scale_init_value == (0.0 if grn else 1.0)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=WEIGHTS + weights)
    wrapper = config.optim_wrapper
    assert wrapper.type == ('AmpOptimWrapper' if amp else 'OptimWrapper')
    assert wrapper.optimizer == dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05)
    assert wrapper.paramwise_cfg == dict(decay_rate=0.9, decay_type='stage_wise')
    # The constructor's own choice where none is given: tests/optim/test_layer_decay.py.
    assert num_layers == (12 if mmconvnext.backbones.ARCHITECTURES[arch].depths[2] > 9 else 6)
    assert wrapper.constructor == 'mmconvnext.LayerDecayOptimWrapperConstructor'
    assert not wrapper.get('clip_grad')
    assert config.train_cfg == dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
    assert config.train_dataloader.batch_size == 2
    assert config.auto_scale_lr == dict(enable=False, base_batch_size=16)
    stride = {512: 341, 640: 426}[crop]
    assert config.model.test_cfg == dict(
        mode='slide', crop_size=(crop, crop), stride=(stride, stride)
    )
    assert config.model.data_preprocessor.size == (crop, crop)


@pytest.mark.parametrize('name', RECIPES)
def test_heads(name: str) -> None:
    config = load(name)
    head, auxiliary = config.model.decode_head, config.model.auxiliary_head
    assert head.type == 'mmconvnext.UPerHead'
    assert head.in_channels is auxiliary.in_channels is None, "the backbone's"
    assert (head.channels, head.num_classes, head.dropout_ratio) == (512, 150, 0.1)
    assert auxiliary.type == 'mmconvnext.FCNHead'
    assert auxiliary.in_index == 2
    assert (auxiliary.channels, auxiliary.num_classes) == (256, 150)
    assert auxiliary.loss_decode.loss_weight == 0.4
    assert head.norm_cfg.type == auxiliary.norm_cfg.type == 'SyncBN'


@pytest.mark.parametrize('name', RECIPES)
def test_pipelines(name: str) -> None:
    config = load(name)
    crop = RECIPES[name][1]
    scale = {512: (2048, 512), 640: (2560, 640)}[crop]
    train = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert list(train) == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RandomResize',
        'RandomCrop',
        'RandomFlip',
        'PhotoMetricDistortion',
        'PackSegInputs',
    ]
    assert train['RandomResize'].scale == scale
    assert train['RandomResize'].ratio_range == (0.5, 2.0)
    assert train['RandomResize'].keep_ratio
    assert train['RandomCrop'] == dict(
        type='RandomCrop', crop_size=(crop, crop), cat_max_ratio=0.75
    )
    assert train['RandomFlip'].prob == 0.5
    resize = config.test_dataloader.dataset.pipeline[1]
    assert resize == dict(type='Resize', scale=scale, keep_ratio=True)
    resizes, flips = config.tta_pipeline[1].transforms[:2]
    ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert [r.scale for r in resizes] == [tuple(int(s * r) for s in scale) for r in ratios]
    assert all(r.keep_ratio for r in resizes)
    assert [f.prob for f in flips] == [0, 1]
    assert config.tta_model.type == 'mmconvnext.WholePictureTTAModel'
    assert config.train_dataloader.dataset.type == ADE20KDataset.__name__
    assert config.data_root == 'data/ade/ADEChallengeData2016'


@pytest.mark.parametrize('name', RECIPES)
def test_macs_and_parameters_equal_the_published(name: str) -> None:
    width, height = {512: (2048, 512), 640: (2560, 640)}[RECIPES[name][1]]
    published = COSTS[stem(name)]
    macs, parameters = count(load(name), height, width)
    assert macs / 1e9 == pytest.approx(published['gmacs'], abs=0.05)
    assert published['parameters_m'] in (None, round(parameters / 1e6, 2))


def official_learning_rate(base: float, t: int) -> float:
    warmup = 1e-6 + (1 - 1e-6) * t / 1500 if t < 1500 else 1.0
    return base * warmup * (1 - t / 160000)


@pytest.mark.parametrize('name', ['t_ade20k', 'xl_in22k_ade20k_640'])
def test_learning_rate_equals_the_formula(name: str) -> None:
    config = load(name)
    layer = torch.nn.Linear(1, 1)
    wrapper = build_optim_wrapper(
        layer, dict(type='OptimWrapper', optimizer=config.optim_wrapper.optimizer)
    )
    schedulers = [
        PARAM_SCHEDULERS.build(dict(**scheduler), default_args=dict(optimizer=wrapper))
        for scheduler in config.param_scheduler
    ]
    wrapper.step()  # mmengine warns of schedulers that go first
    base = config.optim_wrapper.optimizer.lr
    chosen = {0, 1, 700, 1498, 1499, 1500, 1501, 40000, 159999}
    for iteration in range(160000):
        if iteration in chosen:
            expected = official_learning_rate(base, iteration)
            assert wrapper.get_lr()['lr'][0] == pytest.approx(expected, rel=1e-9), iteration
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_leaf_is_a_record_and_a_difference(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 35
    if 'roadmap' in path.stem:
        assert 'Nobody published results or weights' in ' '.join(docstring.split())
        assert f'tools/dist_train.sh configs/{path.name} 8' in docstring
    elif 'samples' not in path.stem:
        result = 'mIoU' if 'ade20k' in path.stem else 'box AP'
        assert f'Published: {result}' in docstring
        assert 'Not reproduced here' in docstring
        checkpoint = Config.fromfile(path).model.backbone.init_cfg.checkpoint
        assert f'Starts from {checkpoint}' in docstring
        assert f'tools/dist_train.sh configs/{path.name} 8' in docstring
    config = Config.fromfile(path)
    assert config.custom_imports.imports == ['mmconvnext']
    assert '::' not in text


def test_base_names_are_unique() -> None:
    names = [path.name for path in CONFIGS.rglob('*.py')]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_builds(path: Path) -> None:
    model = build_on_meta(Config.fromfile(path))
    kind = RoadmapNet if 'roadmap' in path.stem else mmconvnext.ConvNeXt
    assert isinstance(model.backbone, kind)


@pytest.mark.parametrize(
    ('name', 'samples', 'size', 'write'),
    [
        ('upernet', segmentation_samples, 96, segmentation_samples.write_segmentation_samples),
        ('mask_rcnn', detection_samples, 160, detection_samples.write_detection_samples),
        ('cascade_mask_rcnn', detection_samples, 160, detection_samples.write_detection_samples),
    ],
)
def test_samples_config_knows_the_samples(name: str, samples, size: int, write) -> None:
    config = Config.fromfile(CONFIGS / f'{name}_convnext_atto_samples.py')
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        assert tuple(dataset.metainfo.classes) == samples.CLASSES
        assert tuple(map(tuple, dataset.metainfo.palette)) == samples.PALETTE
    for head in dicts_with(config.model, 'num_classes'):
        assert head['num_classes'] == len(samples.CLASSES)
    assert write.__kwdefaults__['size'] == size


def dicts_with(value: object, key: str) -> Iterator[dict]:
    if isinstance(value, dict):
        if key in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from dicts_with(item, key)


STOCK = [
    *(('mmseg', f'convnext-{size}') for size in ('tiny', 'small', 'base', 'large', 'xlarge')),
    *(('mmdet', name) for name in ('mask-rcnn_convnext-t', 'cascade-mask-rcnn_convnext-s')),
]


@pytest.mark.parametrize(('package', 'stem'), STOCK)
def test_stock_config_builds_with_our_backbone(package: str, stem: str) -> None:
    """Only ``type``, ``custom_imports`` and ``init_cfg`` are changed, as the README says."""
    module = __import__(package)
    (path, *_) = Path(module.__file__).parent.glob(f'.mim/configs/convnext/{stem}*.py')
    text = path.read_text()
    assert 'mmpretrain.ConvNeXt' in text
    config = Config.fromfile(path, import_custom_modules=False)
    config.custom_imports = dict(imports=['mmconvnext'], allow_failed_imports=False)
    config.model.backbone.type = 'mmconvnext.ConvNeXt'
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='official.pth')
    model = build_on_meta(config)
    assert isinstance(model.backbone, mmconvnext.ConvNeXt)
    wrapper = config.optim_wrapper
    wrapper.type = 'OptimWrapper'
    wrapper.pop('loss_scale', None)
    with DefaultScope.overwrite_default_scope(package):
        groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))
    assert MODELS.get('mmconvnext.ConvNeXt') is mmconvnext.ConvNeXt


def test_config_dumps_and_reloads(tmp_path: Path) -> None:
    config = load('t_ade20k')
    config.dump(tmp_path / 'dumped.py')
    again, once = (
        json.dumps(c.to_dict(), sort_keys=True, default=str)
        for c in (Config.fromfile(tmp_path / 'dumped.py'), config)
    )
    assert again == once
