"""Detectors here have mmdet's parts in mmdet's order, with a neck that fits the backbone."""

import pytest
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import nn

from mmconvnext.errors import ArgumentError
from tests.conftest import ROOT

register_all_modules(init_default_scope=False)


def model_config(name: str, arch: str) -> Config:
    config = Config.fromfile(ROOT / f'configs/{name}.py').model
    config.backbone.update(arch=arch, init_cfg=None)
    heads = config.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.pop('norm_cfg', None)  # SyncBN is for GPUs
    return config


def build(config: Config) -> nn.Module:
    return MODELS.build({**config, '_scope_': 'mmdet'})


@pytest.mark.parametrize(
    'name',
    [
        *('mask_rcnn_convnext_t_coco', 'mask_rcnn_convnextv2_b_coco_lsj'),
        *('cascade_mask_rcnn_convnext_b_coco', 'cascade_mask_rcnn_convnext_atto_samples'),
    ],
)
def test_another_size_is_one_entry(name: str) -> None:
    config = model_config(name, 'femto')
    model = build(config)
    assert [conv.conv.in_channels for conv in model.neck.lateral_convs] == [48, 96, 192, 384]
    plain = {**config, 'type': config.type.removeprefix('mmconvnext.')}
    plain['neck'] = {**config.neck, 'in_channels': [48, 96, 192, 384]}
    theirs = build(Config(plain))
    assert list(model.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in theirs.named_parameters()]


def test_a_backbone_without_channels_is_named() -> None:
    config = model_config('mask_rcnn_convnext_t_coco', 'atto')
    config.backbone = dict(type='ResNet', depth=18)
    with pytest.raises(ArgumentError, match=r'expected in_channels, got None; .* ResNet has no'):
        build(config)
