"""The two dense configs of the roadmap: any step is one entry, and layer decay fits it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope, init_default_scope

from mmconvnext.analysis.cost.complexity import build_on_meta, count
from mmconvnext.errors import ArgumentError
from mmconvnext.studies.roadmap import ROADMAP, RoadmapNet
from tests.conftest import CONFIGS

STEPS = [step.name for step in ROADMAP]
UPERNET, MASK_RCNN = 'upernet_roadmap_ade20k', 'mask_rcnn_roadmap_coco'


def load(name: str, **options: str) -> Config:
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict({f'model.backbone.{key}': value for key, value in options.items()})
    return config


@pytest.mark.parametrize('name', [UPERNET, MASK_RCNN])
@pytest.mark.parametrize('step', STEPS)
def test_heads_and_necks_follow_the_step(name: str, step: str) -> None:
    model = build_on_meta(load(name, step=step))
    assert isinstance(model.backbone, RoadmapNet)
    channels = model.backbone.channels
    if name == UPERNET:
        assert tuple(model.decode_head.in_channels) == channels
        assert model.auxiliary_head.in_channels == channels[2]
    else:
        assert tuple(model.neck.in_channels) == channels


def test_last_step_counts_as_convnext() -> None:
    assert count(load(UPERNET), 512, 2048) == count(load('upernet_convnext_t_ade20k'), 512, 2048)
    assert count(load(MASK_RCNN), 800, 1280) == count(load('mask_rcnn_convnext_t_coco'), 800, 1280)
    larger = load(UPERNET, regime='resnet200')
    assert count(larger, 512, 2048) == count(load('upernet_convnext_b_ade20k'), 512, 2048)


@pytest.mark.parametrize('name', [UPERNET, MASK_RCNN])
@pytest.mark.parametrize('step', ['resnet50', 'inverted_bottleneck', 'separate_downsampling'])
def test_layer_decay(name: str, step: str) -> None:
    config = load(name, step=step)
    model = build_on_meta(config)
    settings = {**config.optim_wrapper, 'type': 'OptimWrapper'}
    settings.pop('loss_scale', None)
    groups = build_optim_wrapper(model, settings).optimizer.param_groups
    lr, rate = config.optim_wrapper.optimizer.lr, config.optim_wrapper.paramwise_cfg.decay_rate
    rates = {name: group['lr'] for group in groups for name in group['param_names']}
    last = model.backbone.get_layer_depth('x')[0]
    assert rates['backbone.stem.0.weight'] == pytest.approx(lr * rate**last)
    heads = {value for name, value in rates.items() if not name.startswith('backbone.')}
    assert heads == {lr}


@pytest.mark.parametrize('step', ['width', 'layer_norm'])
def test_segmentor_learns_from_a_loss(step: str) -> None:
    from mmseg.structures import SegDataSample

    config = load(UPERNET, step=step)
    config.model.data_preprocessor.size = (64, 64)
    for head in (config.model.decode_head, config.model.auxiliary_head):
        head.update(norm_cfg=dict(type='BN'), channels=8)
    with DefaultScope.overwrite_default_scope('mmseg'):
        init_default_scope('mmseg')
        model = MODELS.build(config.model)
    model.init_weights()
    from mmengine.structures import PixelData

    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, 64, 64))),
            metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
        )
        for _ in range(2)
    ]
    losses = model(torch.randn(2, 3, 64, 64), samples, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    # The regime's stochastic depth may have left a branch out, none of the stem.
    assert model.backbone.stem[0].weight.grad.abs().sum() > 0


def test_a_backbone_of_another_kind_is_to_be_told() -> None:
    config = load(UPERNET)
    config.model.backbone = dict(type='mmseg.ResNetV1c', depth=18)
    with pytest.raises(ArgumentError, match=r'UPerHead: expected in_channels, got None'):
        build_on_meta(config)
    config = load(MASK_RCNN)
    config.model.backbone = dict(type='mmdet.ResNet', depth=18)
    with pytest.raises(ArgumentError, match=r'neck: expected in_channels, got None; .* ResNet has'):
        build_on_meta(config)
