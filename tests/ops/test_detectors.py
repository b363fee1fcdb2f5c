"""mmdet's two-stage detectors run on whatever serves mmcv's operators here."""

import copy
import sys

import mmdet
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmconvnext.ops import extension
from tests.conftest import CONFIGS

HEIGHT, WIDTH = 128, 160


def picture_with_two_objects() -> dict:
    masks = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    masks[0, 10:80, 10:60] = masks[1, 40:100, 50:120] = 1
    size = (HEIGHT, WIDTH)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size, ori_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0)
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10, 60, 80], [50, 40, 120, 100]]),
        labels=torch.tensor([1, 2]),
        masks=BitmapMasks(masks, HEIGHT, WIDTH),
    )
    picture = torch.randint(0, 255, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    return dict(inputs=[picture], data_samples=[sample])


@pytest.mark.skipif(extension.is_compiled(), reason='this mmcv has its operators')
@pytest.mark.parametrize('kind', ['mask_rcnn', 'cascade_mask_rcnn'])
def test_detections_match_mmcv_s(kind: str, compiled, monkeypatch) -> None:
    """A seeded detector through our operators and through the compiled ones."""
    config = Config.fromfile(CONFIGS / f'{kind}_convnext_t_coco.py').model
    config.backbone.update(arch='atto', init_cfg=None)
    config.test_cfg.rcnn.score_thr = 0.015  # untrained, every class has about 1 / 81
    for head in [config.roi_head.bbox_head] if kind == 'mask_rcnn' else config.roi_head.bbox_head:
        head.pop('norm_cfg', None)  # SyncBN is for GPUs
    model = build(config).eval()
    randomise_box_heads(model)
    data = picture_with_two_objects()
    ours = predict(model, data)
    for name in ('nms', 'roi_align'):
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module', compiled)
    theirs = predict(model, data)
    assert len(ours) == len(theirs) > 20
    assert torch.equal(ours.labels, theirs.labels)
    assert (ours.bboxes - theirs.bboxes).abs().max() < 1e-2
    assert (ours.scores - theirs.scores).abs().max() < 1e-4
    assert (ours.masks ^ theirs.masks).float().mean() < 1e-4


def build(config: ConfigDict) -> torch.nn.Module:
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config)
    model.init_weights()
    return model


def randomise_box_heads(model: torch.nn.Module) -> None:
    """So that classes and boxes differ from RoI to RoI, as a trained head's do."""
    for name, parameter in model.named_parameters():
        if 'fc_cls.weight' in name or 'fc_reg.weight' in name:
            torch.nn.init.normal_(parameter, std=0.05)


def predict(model: torch.nn.Module, data: dict) -> InstanceData:
    with torch.no_grad():
        return model.test_step(copy.deepcopy(data))[0].pred_instances


@pytest.mark.parametrize('kind', ['mask-rcnn', 'cascade-mask-rcnn'])
def test_trains_and_predicts(kind: str) -> None:
    folder = f'{mmdet.__path__[0]}/.mim/configs/_base_/models'
    config = Config.fromfile(f'{folder}/{kind}_r50_fpn.py').model
    config.backbone = dict(type='mmconvnext.ConvNeXt', arch='atto')
    config.neck.in_channels = [40, 80, 160, 320]
    model = build(config)
    data = model.data_preprocessor(picture_with_two_objects(), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert model.backbone.downsample_layers[0][0].weight.grad.any()
    model.eval()
    with torch.no_grad():
        found = model(**data, mode='predict')[0].pred_instances
    assert found.masks.shape == (len(found.bboxes), HEIGHT, WIDTH)
