import pytest
from mmengine.config import Config

from mmconvnext.errors import UserError
from mmconvnext.studies.comparison import families
from mmconvnext.studies.comparison.families import (
    MODELS,
    SIZES,
    backbone,
    chosen,
    require_packages,
    with_backbone,
)
from tests.conftest import CONFIGS


def config_of(model: str) -> Config:
    return Config.fromfile(CONFIGS / MODELS[model].config)


def test_size_by_size_and_no_resnet_of_size_l() -> None:
    found = chosen('upernet', ['convnext', 'swin', 'resnet'], SIZES)
    assert [one.label for one in found] == [
        *('ConvNeXt-T', 'Swin-T', 'ResNet-50', 'ConvNeXt-S', 'Swin-S', 'ResNet-101'),
        *('ConvNeXt-B', 'Swin-B', 'ResNet-152', 'ConvNeXt-L', 'Swin-L'),
    ]


@pytest.mark.parametrize('model', MODELS)
def test_the_backbone_alone_differs(model: str) -> None:
    config = config_of(model)
    before = config.model.to_dict()
    one = backbone('resnet', 'T', model)
    changed = with_backbone(config, one).model.to_dict()
    assert config.model.to_dict() == before, 'a copy is changed'
    assert changed.pop('backbone') == one.config
    before.pop('backbone')
    channels = (256, 512, 1024, 2048)
    if model == 'mask_rcnn':
        before['neck']['in_channels'] = [*channels]
    else:
        before['decode_head'] |= {'in_channels': channels}
        before['auxiliary_head'] |= {'in_channels': 1024}
        for head in ('decode_head', 'auxiliary_head'):
            before[head]['norm_cfg']['type'] = 'BN'
    assert changed == before


@pytest.mark.parametrize(
    ('model', 'size'), [('upernet', 'T'), ('upernet', 'S'), ('mask_rcnn', 'T')]
)
def test_convnext_matches_the_config_of_its_size(model: str, size: str) -> None:
    file = MODELS[model].config.replace('convnext_t', f'convnext_{size.lower()}')
    expected = Config.fromfile(CONFIGS / file).model.backbone.to_dict()
    expected.pop('init_cfg')
    assert backbone('convnext', size, model).config == expected


def test_a_package_that_is_not_there_is_told(monkeypatch) -> None:
    require_packages(['upernet', 'mask_rcnn'])
    monkeypatch.setattr(families, 'find_spec', lambda name: None if name == 'mmdet' else name)
    require_packages(['upernet'])
    with pytest.raises(UserError, match=r'mask_rcnn: expected mmdet.* only --models upernet'):
        require_packages(['mask_rcnn'])
