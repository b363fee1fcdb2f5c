from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from mmconvnext.errors import UserError
from mmconvnext.runner import batch_norm
from mmconvnext.runner.batch_norm import norms_of_one_value
from tests.conftest import CONFIGS
from tests.toy_run import ToyData, ToyModel, toy_runner


class Frozen(ToyModel):
    def train(self, mode: bool = True):
        super().train(mode)
        self.norm.eval()
        return self


class OwnStep(ToyModel):
    """Takes each image twice."""

    def train_step(self, data, optim_wrapper):
        return super().train_step({key: 2 * value for key, value in data.items()}, optim_wrapper)


def train(folder: Path, *, images: int = 5, batch_size: int = 2, infinite=False, **options) -> None:
    loader = dict(dataset=ToyData(images), batch_size=batch_size, num_workers=0)
    loader['sampler'] = dict(type='InfiniteSampler' if infinite else 'DefaultSampler')
    if 'drop_last' in options:
        loader['drop_last'] = options.pop('drop_last')
    toy_runner(folder, train_dataloader=loader, **options).train()


@pytest.mark.parametrize(
    ('options', 'found', 'remedy'),
    [
        (dict(batch_size=1), 'batches of 1 image per process', 'batch_size to 2 or more'),
        (dict(epochs=1), 'last batch of an epoch, 5 images by 2, of 1 image', 'drop_last=True'),
        (dict(iters=3), 'last batch of an epoch, 5 images by 2, of 1 image', 'drop_last=True'),
    ],
)
def test_one_line_before_the_first_step(tmp_path: Path, options, found: str, remedy: str) -> None:
    with pytest.raises(UserError, match=rf'found 1 in norm \({found}.*{remedy}'):
        train(tmp_path, **options)
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize(
    'options',
    [
        dict(infinite=True),
        dict(epochs=1, drop_last=True),
        dict(epochs=1, images=4),
        dict(iters=2),
        dict(batch_size=1, iters=1, model=Frozen()),
        dict(batch_size=1, iters=1, model=OwnStep()),
    ],
)
def test_no_false_alarm(tmp_path: Path, options: dict) -> None:
    train(tmp_path, **options)


def model_and_batch(name: str, **head: object) -> tuple[nn.Module, dict]:
    """Return a config's model, and one image of 64 px for it."""
    config = Config.fromfile(CONFIGS / name)
    config.model.backbone.update(arch='atto', init_cfg=None)
    config.model.get('decode_head', {}).update(head)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
    if config.default_scope == 'mmseg':
        from mmseg.structures import SegDataSample

        labels = PixelData(data=torch.zeros(1, 64, 64, dtype=torch.int64))
        sample = SegDataSample(gt_sem_seg=labels, metainfo=meta)
    else:
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks

        boxes = torch.tensor([[4.0, 4.0, 40.0, 40.0]])
        objects = InstanceData(bboxes=boxes, labels=torch.tensor([0]))
        objects.masks = BitmapMasks(np.ones((1, 64, 64), np.uint8), 64, 64)
        sample = DetDataSample(gt_instances=objects, metainfo=meta)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0])
    return model, dict(inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8)], data_samples=[sample])


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_uper_net_pools_to_one_pixel(norm: str, monkeypatch) -> None:
    segmentor = model_and_batch('upernet_convnext_atto_samples.py', norm_cfg=dict(type=norm))
    assert norms_of_one_value(*segmentor) == ['decode_head.psp_modules.0.1.bn']
    monkeypatch.setattr(batch_norm, 'get_world_size', lambda: 2)
    assert len(norms_of_one_value(*segmentor)) == (norm == 'BN')


def test_a_detector_is_fine_and_stays_as_it_was() -> None:
    model, batch = model_and_batch('cascade_mask_rcnn_convnext_atto_samples.py')
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert any('running_mean' in name for name in before)
    assert norms_of_one_value(model, batch) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_every_config_is_fine(path: Path) -> None:
    """Its smallest batch has two images, or its model gets no single value: it is a detector."""
    loader = Config.fromfile(path).train_dataloader
    whole = loader.sampler.type == 'InfiniteSampler' or loader.get('drop_last')
    assert loader.batch_size > 1
    assert whole or 'mask_rcnn' in path.stem or path.stem == 'roadmap_resnet50_samples'
