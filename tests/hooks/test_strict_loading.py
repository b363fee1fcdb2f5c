from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner.priority import get_priority
from mmseg.models.segmentors import SegTTAModel

from mmconvnext.checkpoints.convert import from_official
from mmconvnext.checkpoints.formats import MMPRETRAIN, OFFICIAL, TIMM
from mmconvnext.checkpoints.load import with_official_names
from mmconvnext.errors import CheckpointError
from mmconvnext.hooks import StrictLoadingHook
from tests.classification.test_classifier import classifier


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)

    def forward(self, inputs):
        return self.layer(inputs)


@pytest.mark.parametrize('wrap', [lambda m: m, SegTTAModel], ids=['plain', 'tta'])
def test_only_a_complete_checkpoint_passes(wrap) -> None:
    model = Model()
    runner = SimpleNamespace(model=wrap(model))
    state = model.state_dict()
    StrictLoadingHook().after_load_checkpoint(runner, {'state_dict': dict(state)})
    del state['layer.bias']
    with pytest.raises(CheckpointError, match=r'does not fit the model: 1 missing: layer\.bias'):
        StrictLoadingHook().after_load_checkpoint(runner, {'state_dict': dict(state)})


class Segmentor(BaseModel):
    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = torch.nn.Conv2d(32, 3, 1)

    def forward(self, inputs):
        return self.decode_head(self.backbone(inputs)[-1])


@pytest.mark.parametrize('format', [OFFICIAL, MMPRETRAIN], ids=lambda format: format.name)
@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (3,)], ids=str)
def test_whole_models_with_another_backbone_s_names(format, out_indices, small_backbone) -> None:
    model = Segmentor(small_backbone(out_indices=out_indices))
    released = {
        f'backbone.{key}': value.clone()
        for key, value in from_official(model.backbone.state_dict(), format).items()
    } | {f'decode_head.{key}': value for key, value in model.decode_head.state_dict().items()}
    checkpoint = {'state_dict': released}
    StrictLoadingHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
    model.load_state_dict(checkpoint['state_dict'], strict=True)


def test_released_models_load_however_they_are_wrapped(small_backbone) -> None:
    model = Segmentor(small_backbone(use_grn=True))
    released = {
        f'module.backbone.{key}': value.clone()
        for key, value in from_official(model.backbone.state_dict(), MMPRETRAIN).items()
    } | {f'module.decode_head.{k}': v for k, v in model.decode_head.state_dict().items()}
    for checkpoint in (dict(released), {'model': released}, {'state_dict': released, 'meta': {}}):
        StrictLoadingHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
        model.load_state_dict(checkpoint['state_dict'], strict=True)
    for checkpoint in ([released], {'state_dict': 'a'}):
        with pytest.raises(CheckpointError, match='expected a dict of tensors'):
            StrictLoadingHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)


def test_the_averaged_model_gets_the_official_names_too(small_backbone) -> None:
    model = Segmentor(small_backbone())
    released = {
        f'backbone.{key}': torch.full_like(value, 2.0)
        for key, value in from_official(model.backbone.state_dict(), MMPRETRAIN).items()
    } | {f'decode_head.{key}': value for key, value in model.decode_head.state_dict().items()}
    runner = SimpleNamespace(model=model, _resume=False)
    hooks = [EMAHook(), StrictLoadingHook()]
    hooks[0].before_run(runner)
    checkpoint = {'model': released}
    for hook in sorted(hooks, key=lambda hook: get_priority(hook.priority)):  # as the Runner does
        hook.after_load_checkpoint(runner, checkpoint)
    averaged = hooks[0].ema_model.module.backbone
    assert (averaged.stages[0][0].dwconv.weight == 2.0).all()


def test_heads_of_other_classes_start_anew(small_backbone, capsys) -> None:
    model = Segmentor(small_backbone())
    state = {**model.state_dict(), 'decode_head.weight': torch.ones(9, 32, 1, 1)}
    runner = SimpleNamespace(model=model)
    MMLogger.get_instance('heads', logger_name='heads')  # one that writes where capsys looks
    with pytest.raises(CheckpointError, match='does not fit the model'):
        StrictLoadingHook().after_load_checkpoint(runner, {'state_dict': dict(state)})
    StrictLoadingHook(heads=False).after_load_checkpoint(runner, {'state_dict': dict(state)})
    captured = capsys.readouterr()
    assert '1 tensors outside the backbone are not loaded: decode_head.weight' in (
        captured.out + captured.err
    )
    del state['backbone.norm0.bias']
    with pytest.raises(CheckpointError, match=r'1 missing: backbone\.norm0\.bias'):
        StrictLoadingHook(heads=False).after_load_checkpoint(runner, {'state_dict': state})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'layer.bias': torch.empty(3, device='meta')},
            r'a\.pth: .* found layer\.bias \(without val',
        ),
        (
            {'layer.bias': torch.zeros(3).to_sparse()},
            r'found layer\.bias \(torch.float32, torch.sp',
        ),
        ({'layer.bias': torch.zeros(3, dtype=torch.complex64)}, 'torch.complex64'),
        ({'a.attn.relative_position_bias_table': torch.zeros(3)}, 'its keys look like Swin'),
    ],
)
def test_strange_tensors_and_models(change: dict, message: str) -> None:
    model = Model()
    hook = StrictLoadingHook(source='a.pth')
    with pytest.raises(CheckpointError, match=message):
        hook.after_load_checkpoint(SimpleNamespace(model=model), {**model.state_dict(), **change})


def test_other_backbones_stay_as_they_are() -> None:
    state = {'backbone.conv1.weight': torch.ones(1), 'decode_head.weight': torch.ones(1)}
    assert with_official_names(state, classifier=False)[0] == state


@pytest.mark.parametrize('format', [OFFICIAL, MMPRETRAIN, TIMM], ids=lambda format: format.name)
def test_classifiers_of_any_family_load_head_included(format) -> None:
    model = classifier()
    official = {
        key.removeprefix('backbone.'): torch.randn_like(value)
        for key, value in model.state_dict().items()
    }
    checkpoint = {'model': from_official(official, format)}
    StrictLoadingHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    assert torch.equal(model.head.weight, official['head.weight'])
    assert torch.equal(model.norm.bias, official['norm.bias'])


def test_a_classifier_of_other_classes_is_told_or_gives_its_body() -> None:
    model, other = classifier(), classifier(num_classes=9).state_dict()
    runner = SimpleNamespace(model=model)
    with pytest.raises(CheckpointError, match='has 9 classes, the config says num_cl'):
        StrictLoadingHook().after_load_checkpoint(runner, {'state_dict': dict(other)})
    StrictLoadingHook(heads=False).after_load_checkpoint(runner, {'state_dict': dict(other)})
