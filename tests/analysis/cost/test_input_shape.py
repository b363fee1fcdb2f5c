import pytest
from mmengine.config import Config

from mmconvnext.analysis.cost.input_shape import counted_shape, training_shape
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


@pytest.mark.parametrize(
    ('name', 'counted', 'training'),
    [
        ('upernet_convnext_t_ade20k', (512, 2048), (512, 512)),
        ('upernet_convnext_b_in22k_ade20k_640', (640, 2560), (640, 640)),
        ('mask_rcnn_convnext_t_coco', (800, 1280), (800, 1344)),  # 1333, padded
        ('mask_rcnn_convnextv2_b_coco_lsj', (800, 1280), (1024, 1024)),
        ('upernet_convnext_atto_samples', (96, 96), (96, 96)),
        ('mask_rcnn_convnext_atto_samples', (160, 160), (160, 160)),
        ('convnext_t_in1k', (224, 224), (224, 224)),
        ('convnext_b_in22k_in1k_384', (384, 384), (384, 384)),
        ('roadmap_resnet50_samples', (48, 48), (48, 48)),
    ],
)
def test_shapes_of_the_configs(name: str, counted: tuple, training: tuple) -> None:
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert counted_shape(config) == counted
    assert training_shape(config) == training


def test_wrapped_data_sets_and_none() -> None:
    crop = [dict(type='RandomCrop', crop_size=(48, 64)), dict(type='RandomFlip')]
    dataset = dict(type='RepeatDataset', times=2, dataset=dict(type='A', pipeline=crop))
    config = Config(dict(model=dict(type='A'), train_dataloader=dict(dataset=dataset)))
    assert counted_shape(config) == training_shape(config) == (48, 64)
    with pytest.raises(UserError, match='--shape HEIGHT WIDTH'):
        counted_shape(Config(dict(model=dict(type='A'))))
