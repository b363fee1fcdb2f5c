"""Every config of a classifier against the recipe it was written from, and what it builds."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import EMAHook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, METRICS, PARAM_SCHEDULERS, init_default_scope
from PIL import Image

import mmconvnext
from mmconvnext.analysis.cost.complexity import build_on_meta
from tests.conftest import CONFIGS

WEIGHTS = 'https://dl.fbaipublicfiles.com/convnext/'
LEAVES = sorted(path for path in CONFIGS.glob('*.py') if re.search(r'_in1k|^roadmap_', path.stem))
FROM_IMAGENET = [path for path in LEAVES if 'samples' not in path.stem]

# arch, side, drop path, lr, weight decay, layer decay, epochs, of which warm-up, batch, average of
# weights, weights to start from. Sources: the configs; what they call ours is pinned alike.
V1 = ('scratch', 4e-3, 0.05, 1.0, 300, 20, 4096)
FINE_TUNED = ('22k', 5e-5, 1e-8, 0.8, 30, 0, 512)
V2_SMALL = ('fcmae', 8e-4, 0.3, 0.9, 600, 0, 1024)
V2_TINY = ('fcmae', 3.2e-3, 0.05, 0.9, 300, 40, 1024)
V2_LARGE = ('fcmae', 2.5e-3, 0.05, 0.6, 100, 20, 1024)
RECIPES = {
    'convnext_t_in1k': ('tiny', 224, 0.1, V1, True),
    'convnext_s_in1k': ('small', 224, 0.4, V1, True),
    'convnext_b_in1k': ('base', 224, 0.5, V1, True),
    'convnext_l_in1k': ('large', 224, 0.5, V1, True),
    'convnext_xl_in1k': ('xlarge', 224, 0.4, FINE_TUNED, True),
    'convnext_t_in22k_in1k_384': ('tiny', 384, 0.0, FINE_TUNED, False),
    'convnext_s_in22k_in1k_384': ('small', 384, 0.1, FINE_TUNED, False),
    'convnext_b_in22k_in1k_384': ('base', 384, 0.2, FINE_TUNED, False),
    'convnext_l_in22k_in1k_384': ('large', 384, 0.3, FINE_TUNED, False),
    'convnext_xl_in22k_in1k_384': ('xlarge', 384, 0.4, FINE_TUNED, True),
    'convnextv2_atto_in1k': ('atto', 224, 0.1, V2_SMALL, True),
    'convnextv2_femto_in1k': ('femto', 224, 0.1, V2_SMALL, True),
    'convnextv2_pico_in1k': ('pico', 224, 0.1, V2_SMALL, True),
    'convnextv2_nano_in1k': ('nano', 224, 0.1, V2_SMALL, True),
    'convnextv2_t_in1k': ('tiny', 224, 0.2, V2_TINY, True),
    'convnextv2_b_in1k': ('base', 224, 0.1, V2_LARGE, True),
    'convnextv2_l_in1k': ('large', 224, 0.2, V2_LARGE, True),
    'convnextv2_h_in1k': ('huge', 224, 0.3, V2_LARGE, True),
    'roadmap_resnet50_in1k': (None, 224, 0.1, V1, False),
    'roadmap_resnet200_in1k': (None, 224, 0.5, V1, False),
}
FILES = {
    'scratch': None,
    '22k': WEIGHTS + 'convnext_{}_22k_224.pth',
    'fcmae': WEIGHTS + 'convnextv2/pt_only/convnextv2_{}_1k_224_fcmae.pt',
}


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_every_config_has_a_recipe() -> None:
    assert sorted(RECIPES) == [path.stem for path in FROM_IMAGENET]


@pytest.mark.parametrize('name', RECIPES)
def test_model_is_the_recipe_s(name: str) -> None:
    model = load(name).model
    arch, _, drop_path, (start, _, _, _, epochs, *_), _ = RECIPES[name]
    backbone = model.backbone
    v2 = start == 'fcmae'
    assert backbone.drop_path_rate == drop_path
    assert backbone.layer_scale_init_value == (0.0 if v2 else 1e-6)
    assert backbone.get('use_grn', False) is v2
    assert backbone.out_indices == (3,)
    if arch:
        assert (backbone.type, backbone.arch) == ('mmconvnext.ConvNeXt', arch)
    else:
        assert backbone.regime == name.split('_')[1]
    file = FILES[start] and FILES[start].format(arch)
    assert (backbone.get('init_cfg') or {}).get('checkpoint') == file
    assert model.num_classes == 1000
    assert model.head_init_scale == (1.0 if start == 'scratch' else 1e-3)
    assert model.label_smoothing == (0.2 if epochs == 600 else 0.1)
    mixes = epochs not in (30, 600)
    assert model.mixing == (dict(mixup_alpha=0.8, cutmix_alpha=1.0) if mixes else None)


@pytest.mark.parametrize('name', RECIPES)
def test_training_is_the_recipe_s(name: str) -> None:
    config = load(name)
    start, lr, weight_decay, decay, epochs, _, batch = RECIPES[name][3]
    wrapper = config.optim_wrapper
    assert wrapper.type == ('AmpOptimWrapper' if start == 'fcmae' else 'OptimWrapper')
    assert wrapper.optimizer == dict(
        type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=weight_decay
    )
    kind = 'block_wise' if start == 'fcmae' and epochs > 100 else 'layer_wise'
    assert wrapper.paramwise_cfg == dict(decay_rate=decay, decay_type=kind)
    assert not wrapper.get('clip_grad')
    assert config.train_cfg.max_epochs == epochs
    assert 8 * config.train_dataloader.batch_size == config.auto_scale_lr.base_batch_size
    assert config.auto_scale_lr.base_batch_size * wrapper.accumulative_counts == batch
    assert config.auto_scale_lr.enable is False
    averages = [hook for hook in config.custom_hooks if hook.type == EMAHook.__name__]
    assert len(averages) == RECIPES[name][4]
    for hook in averages:  # once a step, not once an iteration
        assert (hook.momentum, hook.interval) == (1e-4, wrapper.accumulative_counts)


@pytest.mark.parametrize('name', RECIPES)
def test_pipelines_are_the_recipe_s(name: str) -> None:
    config = load(name)
    size = RECIPES[name][1]
    train = config.train_dataloader
    assert train.dataset.pipeline == [
        dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),
        dict(type='mmconvnext.RandomResizedCrop', size=size),
        dict(type='RandomFlip', prob=0.5),
        dict(type='mmconvnext.TimmRandAugment', config='rand-m9-mstd0.5-inc1'),
        dict(type='mmconvnext.TimmRandomErasing', prob=0.25),
        dict(type='mmconvnext.PackImage'),
    ]
    assert train.drop_last  # what is mixed is mixed in pairs
    assert train.batch_size % 2 == 0
    test = [
        dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),
        dict(type='mmconvnext.EvaluationCrop', size=size),
        dict(type='mmconvnext.PackImage'),
    ]
    assert config.val_dataloader.dataset.pipeline == test
    assert config.test_dataloader.dataset.pipeline == test
    assert config.test_dataloader.dataset.data_prefix == dict(img_path='val')
    assert METRICS.build(config.test_evaluator).topk == (1, 5)


def official_learning_rate(recipe: tuple, t: int, length: int) -> float:
    """At iteration t, with ``length`` iterations an epoch: cosine_scheduler of the V1 code."""
    _, lr, _, _, epochs, warmup_epochs, _ = recipe
    warmup, total = warmup_epochs * length, epochs * length
    if t < warmup:
        return lr * t / (warmup - 1)
    cosine = (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2
    return 1e-6 + (lr - 1e-6) * cosine


@pytest.mark.parametrize(
    'name',
    [
        'convnext_t_in1k',
        'convnext_b_in22k_in1k_384',
        'convnextv2_atto_in1k',
        'convnextv2_t_in1k',
        'convnextv2_b_in1k',
    ],
)
def test_learning_rate_equals_the_formula(name: str) -> None:
    config, recipe, length = load(name), RECIPES[name][3], 7
    heads, stem = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    lr = recipe[1]
    groups = [dict(params=heads.parameters(), lr=lr), dict(params=stem.parameters(), lr=lr / 8)]
    optimizer = torch.optim.AdamW(groups)
    schedulers = []
    for scheduler in config.param_scheduler:
        options = dict(scheduler)
        kind = PARAM_SCHEDULERS.get(options.pop('type'))
        assert options.pop('convert_to_iter_based')
        schedulers.append(kind.build_iter_from_epoch(optimizer, epoch_length=length, **options))
    optimizer.step()  # mmengine warns of schedulers that go first
    for iteration in range(recipe[4] * length):
        expected = official_learning_rate(recipe, iteration, length)
        head, first = (group['lr'] for group in optimizer.param_groups)
        # The official 0 of the very first iteration is 1e-9 here, of lr.
        assert head == pytest.approx(expected, rel=1e-6, abs=2e-9 * lr), iteration
        assert first == pytest.approx(head / 8, rel=1e-9)  # min_lr is scaled as well
        for scheduler in schedulers:
            scheduler.step()


def test_v2_s_warm_up_is_the_official_one_to_a_step_of_it() -> None:
    """V2's adjust_learning_rate is lr · t / W, of W steps in all."""
    recipe, length = V2_LARGE, 1251
    warmup = recipe[5] * length
    for t in range(1, warmup, 1000):
        ours, theirs = official_learning_rate(recipe, t, length), recipe[1] * t / warmup
        assert ours == pytest.approx(theirs, rel=1.1 / warmup)


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_builds_with_its_optimizer(path: Path) -> None:
    config = Config.fromfile(path)
    model = build_on_meta(config)
    assert isinstance(model, mmconvnext.classification.ImageClassifier)
    wrapper = ConfigDict(config.optim_wrapper, type='OptimWrapper')  # AMP wants a GPU
    wrapper.pop('loss_scale', None)
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))
    if path not in FROM_IMAGENET:
        return
    _, lr, weight_decay, decay, *_ = RECIPES[path.stem][3]
    for group in groups:
        for parameter in group['params']:
            assert group['weight_decay'] == (0.0 if parameter.ndim == 1 else weight_decay)
    rates = [group['lr'] for group in groups]
    depths = model.backbone.depths
    steps = {'layer_wise': 13 if depths[2] > 9 else 7, 'block_wise': sum(depths)}
    assert max(rates) == lr
    assert min(rates) == pytest.approx(lr * decay ** steps[wrapper.paramwise_cfg.decay_type])


@pytest.mark.parametrize('step', ['resnet50', 'inverted_bottleneck', 'fewer_norms'])
def test_biases_and_norms_of_every_step_are_not_decayed(step: str) -> None:
    config = load('roadmap_resnet50_in1k')
    config.model.backbone.step = step
    model = build_on_meta(config)
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))
    for group in groups:
        for parameter in group['params']:
            assert group['weight_decay'] == (0.0 if parameter.ndim == 1 else 0.05)
        assert group['lr'] == 4e-3


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """ImageNet's layout: two classes of one image each, not square, one of them grey."""
    root = tmp_path_factory.mktemp('imagenet')
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for split in ('train', 'val'):
        for name, picture in (('n01440764', pixels), ('n01443537', pixels[..., 0])):
            (root / split / name).mkdir(parents=True)
            Image.fromarray(picture).save(root / split / name / 'picture.JPEG')
    return root


@pytest.mark.parametrize('name', ['convnext_t_in1k', 'convnext_b_in22k_in1k_384'])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_pipeline_runs_on_a_picture(name: str, split: str, folder: Path) -> None:
    """timm's two transforms apart, which tests/oracles runs."""
    config = load(name)
    init_default_scope(config.default_scope)
    dataset = config[f'{split}_dataloader'].dataset
    dataset.data_root = str(folder)
    dataset.pipeline = [step for step in dataset.pipeline if 'Timm' not in step.type]
    built = DATASETS.build(dataset)
    side = RECIPES[name][1]
    for index in range(2):
        packed = built[index]
        assert packed['inputs'].shape == (3, side, side)
        assert packed['data_samples'].gt_label.tolist() == [index]


@pytest.mark.parametrize('path', FROM_IMAGENET, ids=lambda path: path.stem)
def test_leaf_is_a_record_and_a_difference(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 35
    assert 'Published: top-1' in docstring
    assert 'Not reproduced here' in docstring
    assert f'tools/dist_train.sh configs/{path.name} 8' in docstring
    config = Config.fromfile(path)
    init = config.model.backbone.get('init_cfg')
    assert ('Starts from' in docstring) == bool(init)
    assert not init or f'Starts from {init.checkpoint}' in docstring
    per_gpu, steps = config.train_dataloader.batch_size, config.optim_wrapper.accumulative_counts
    arithmetic = f'8 GPUs × {per_gpu} images × {steps} iterations = {8 * per_gpu * steps}'
    assert arithmetic in docstring
    assert ('CC-BY-NC' in docstring) == ('v2' in path.stem)
    assert config.custom_imports.imports == ['mmconvnext']
    assert '::' not in text
