"""mmdet's two-stage detectors run on whatever serves mmcv's operators here."""

import mmdet
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

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


@pytest.mark.parametrize('kind', ['mask-rcnn', 'cascade-mask-rcnn'])
def test_trains_and_predicts(kind: str) -> None:
    folder = f'{mmdet.__path__[0]}/.mim/configs/_base_/models'
    config = Config.fromfile(f'{folder}/{kind}_r50_fpn.py').model
    config.backbone = dict(type='mmconvnext.ConvNeXt', arch='atto')
    config.neck.in_channels = [40, 80, 160, 320]
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config)
    model.init_weights()
    data = model.data_preprocessor(picture_with_two_objects(), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert model.backbone.downsample_layers[0][0].weight.grad.any()
    model.eval()
    with torch.no_grad():
        found = model(**data, mode='predict')[0].pred_instances
    assert found.masks.shape == (len(found.bboxes), HEIGHT, WIDTH)
