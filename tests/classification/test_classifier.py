from collections.abc import Callable

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn import functional as F

from mmconvnext import ConvNeXt
from mmconvnext.classification import ImageClassifier
from mmconvnext.errors import ArgumentError, CheckpointError
from tests.conftest import SMALL

BACKBONE = dict(
    type='mmconvnext.ConvNeXt', arch=SMALL, out_indices=(3,), layer_scale_init_value=1.0
)


def classifier(**options: object) -> ImageClassifier:
    return ImageClassifier(**{'backbone': dict(BACKBONE), 'num_classes': 5, **options})


def samples_of(*labels: int) -> list[BaseDataElement]:
    return [BaseDataElement(gt_label=torch.tensor([label])) for label in labels]


def test_names_are_the_official_classifier_s_below_a_prefix() -> None:
    names = set(classifier().state_dict())
    body = {f'backbone.{name}' for name in ConvNeXt(SMALL).state_dict() if name[:4] != 'norm'}
    assert names == body | {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}


def test_matches_closed_form_of_pooling_then_norm() -> None:
    model = classifier()
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    x = torch.randn(2, 3, 64, 96)
    (raw,) = model.backbone(x)
    pooled = F.layer_norm(raw.mean((2, 3)), (32,), model.norm.weight, model.norm.bias, 1e-6)
    torch.testing.assert_close(model(x), F.linear(pooled, model.head.weight, model.head.bias))


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_matches_torch_s_cross_entropy(smoothing: float) -> None:
    model, x = classifier(label_smoothing=smoothing), torch.randn(3, 3, 32, 32)
    labels = torch.tensor([4, 0, 2])
    expected = F.cross_entropy(model(x), labels, label_smoothing=smoothing)
    torch.testing.assert_close(model(x, samples_of(4, 0, 2), mode='loss')['loss'], expected)


def test_predictions() -> None:
    model, x = classifier(), torch.randn(2, 3, 32, 32)
    given = samples_of(1, 2)
    found = model(x, given, mode='predict')
    assert found[0] is given[0]
    assert [int(sample.gt_label) for sample in found] == [1, 2]
    for sample, logits in zip(found, model(x)):
        torch.testing.assert_close(sample.pred_score, logits.softmax(0))
        assert sample.pred_label.tolist() == [int(logits.argmax())]
    assert len(model(x, mode='predict')) == 2  # and without labels


@pytest.mark.parametrize(
    'backbone',
    [BACKBONE, dict(type='mmconvnext.RoadmapNet', step='resnet50', out_indices=(3,))],
    ids=['ConvNeXt', 'RoadmapNet'],
)
def test_gradient_reaches_every_parameter(backbone: dict) -> None:
    model = classifier(backbone=dict(backbone)).train()
    model(torch.randn(2, 3, 64, 64), samples_of(0, 1), mode='loss')['loss'].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    # The last bias before a norm of its own sum has none but rounding.
    assert model.head.weight.grad.abs().sum() > 0


def test_the_official_initialisation() -> None:
    model = classifier(num_classes=200, head_init_scale=0.01)
    model.init_weights()
    assert model.head.weight.std().item() == pytest.approx(2e-4, rel=0.1)
    assert not model.head.bias.any()
    assert (model.norm.weight == 1).all()
    assert model.backbone.stages[3][0].pwconv1.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_another_backbone_is_pooled_as_it_comes() -> None:
    model = classifier(backbone=dict(type='mmdet.ResNet', depth=18), in_channels=512)
    assert isinstance(model.norm, nn.Identity)
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 5)
    with pytest.raises(ArgumentError, match=r'in_channels: expected the channels .* of ResNet'):
        classifier(backbone=dict(type='mmdet.ResNet', depth=18))


def test_builds_from_mmengine_s_registry_with_its_preprocessor() -> None:
    model = MODELS.build(
        dict(
            type='mmconvnext.ImageClassifier',
            backbone=BACKBONE,
            num_classes=5,
            data_preprocessor=dict(type='ImgDataPreprocessor', mean=[1, 2, 3], std=[2, 2, 2]),
        )
    )
    batch = {'inputs': [torch.ones(3, 32, 32, dtype=torch.uint8)] * 2}
    assert [sample.pred_score.shape for sample in model.test_step(batch)] == [(5,), (5,)]
    assert set(model.state_dict()) == set(classifier().state_dict())  # no buffers


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_classes=0), 'num_classes: expected 1 or more, got 0'),
        (dict(label_smoothing=1.0), r'label_smoothing: expected \[0, 1\), got 1.0'),
        (dict(mixing=dict(mixup=1)), 'mixing: expected None or a dict of mixup_alpha, cutmix'),
        (dict(mixing={}), 'mixing: expected None or a dict'),
        (dict(backbone={**BACKBONE, 'out_indices': (2, 3)}), r'out_indices: expected \(3,\)'),
    ],
)
def test_impossible_arguments(options: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        classifier(**options)


def test_an_odd_batch_is_not_mixed() -> None:
    model = classifier(mixing=dict(mixup_alpha=0.8))
    with pytest.raises(ArgumentError, match=r'expected an even number .* got 3; .*drop_last=True'):
        model(torch.randn(3, 3, 32, 32), samples_of(0, 1, 2), mode='loss')


def test_other_modes() -> None:
    with pytest.raises(ArgumentError, match="mode: expected 'tensor', 'loss' or 'predict'"):
        classifier()(torch.randn(1, 3, 32, 32), mode='losses')


@pytest.fixture
def official(tmp_path) -> Callable[..., str]:
    """Writes an official classifier's file and returns its name."""

    def write(classes: int = 5, **options: object) -> str:
        model = classifier(num_classes=classes, **options)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        state = {k.removeprefix('backbone.'): v for k, v in model.state_dict().items()}
        torch.save({'model': state}, tmp_path / 'official.pth')
        return str(tmp_path / 'official.pth')

    return write


def test_an_init_cfg_s_options_are_known_ones(official) -> None:
    for option in ('new', 'unused', 'whole', 'heads', 'stem'):
        init = {'type': 'Pretrained', 'checkpoint': official(), option: ['head.']}
        expected = rf'init_cfg: expected checkpoint, ema, sha256, got {option}'
        with pytest.raises(ArgumentError, match=expected):
            classifier(init_cfg=init).init_weights()
    with pytest.raises(ArgumentError, match='expected a checkpoint, got none'):
        classifier(init_cfg=dict(type='Pretrained')).init_weights()


def test_a_whole_classifier_loads_by_its_init_cfg(official) -> None:
    file = official()
    model = classifier(init_cfg=dict(type='Pretrained', checkpoint=file))
    model.init_weights()
    saved = torch.load(file, weights_only=True)['model']
    for key, value in model.state_dict().items():
        assert torch.equal(value, saved[key.removeprefix('backbone.')]), key


def test_a_whole_classifier_of_other_classes_does_not(official) -> None:
    model = classifier(init_cfg=dict(type='Pretrained', checkpoint=official(classes=7)))
    with pytest.raises(CheckpointError, match=r'has 7 classes, .* num_classes=5; .*--pret'):
        model.init_weights()


@pytest.mark.parametrize(('policy', 'kept'), [(None, True), ('fresh', False)])
def test_fine_tuning_keeps_the_norm_and_draws_the_head(official, policy, kept: bool) -> None:
    file = official(classes=7)
    init = dict(type='Pretrained', checkpoint=file) | ({'norm3': policy} if policy else {})
    model = classifier(backbone={**BACKBONE, 'init_cfg': init})
    head = model.head.weight.clone()
    model.init_weights()
    saved = torch.load(file, weights_only=True)['model']
    stem = 'downsample_layers.0.0.weight'
    assert torch.equal(model.backbone.state_dict()[stem], saved[stem])
    assert torch.equal(model.norm.weight, saved['norm.weight']) is kept
    assert torch.equal(model.head.weight, head)
    assert 'norm3.weight' not in model.backbone.state_dict()
