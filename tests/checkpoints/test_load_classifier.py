import pytest
import torch
from torch import Tensor

from mmconvnext.checkpoints.convert import from_official
from mmconvnext.checkpoints.description import classifier_misfit
from mmconvnext.checkpoints.formats import HF, MMPRETRAIN, OFFICIAL, TIMM, TORCHVISION
from mmconvnext.checkpoints.load import is_classifier, load, with_official_names
from mmconvnext.errors import CheckpointError
from tests.classification.test_classifier import BACKBONE, classifier


def official_state(**options: object) -> dict[str, Tensor]:
    state = classifier(**options).state_dict()
    return {key.removeprefix('backbone.'): torch.randn_like(value) for key, value in state.items()}


@pytest.mark.parametrize(
    'format', [OFFICIAL, MMPRETRAIN, TIMM, TORCHVISION, HF], ids=lambda f: f.name
)
def test_every_family_gets_the_classifier_s_names(format, tmp_path) -> None:
    state = official_state()
    torch.save({'model': from_official(state, format)}, tmp_path / 'a.pth')
    model = classifier()
    load(model, str(tmp_path / 'a.pth'), whole=True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key.removeprefix('backbone.')]), key


def test_our_own_and_other_networks_stay_as_they_are() -> None:
    state = classifier().state_dict()
    assert with_official_names(state, classifier=True)[0].keys() == state.keys()
    other = {'backbone.stem.0.weight': torch.ones(1), 'head.weight': torch.ones(1)}
    assert with_official_names(other, classifier=True)[0] == other


def test_nothing_of_a_file_is_dropped_silently() -> None:
    extra = {'aux.weight': torch.ones(1), 'stages.0.0.extra': torch.ones(1)}
    named, _ = with_official_names(official_state() | extra, classifier=True)
    assert {'backbone.aux.weight', 'backbone.stages.0.0.extra'} <= named.keys()


def test_what_a_family_has_beside_is_not_dropped_either(tmp_path) -> None:
    state = from_official(official_state(), TIMM) | {'head.pre_logits.fc.weight': torch.ones(3, 3)}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(
        CheckpointError, match=r'unexpected: backbone\.head\.pre_logits.*has no head'
    ):
        load(classifier(), str(tmp_path / 'a.pth'), whole=True)


def test_what_is_a_classifier() -> None:
    state = classifier().state_dict()
    assert is_classifier(state)
    assert not is_classifier({**state, 'decode_head.conv_seg.weight': torch.ones(1)})
    assert not is_classifier({k: v for k, v in state.items() if not k.startswith('head.')})


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (official_state(num_classes=21), r'it has 21 classes, .* num_classes=5; to start'),
        (
            {k: v for k, v in official_state().items() if k[:4] != 'head'},
            '2 missing: head.weight, head.bias; it has no head that fits here; .* --pretrained',
        ),
        (
            official_state(backbone={**BACKBONE, 'arch': 'atto'}),
            'this is the size atto, the config says another one',
        ),
        (
            official_state(backbone={**BACKBONE, 'use_grn': True, 'layer_scale_init_value': None}),
            'this is ConvNeXt V2, the config says use_grn=False',
        ),
        (
            {
                f'backbone.{k}': v
                for k, v in official_state().items()
                if k[:4] not in ('head', 'norm')
            }
            | {'decode_head.conv_seg.weight': torch.ones(1)},
            'this is a whole segmentor, not a classifier',
        ),
        (official_state() | {'head.bias': torch.full((5,), torch.nan)}, 'NaN or infinity in 1'),
    ],
    ids=['classes', 'no head', 'size', 'version', 'segmentor', 'nan'],
)
def test_what_does_not_fit_is_explained_in_one_line(state, message: str, tmp_path) -> None:
    torch.save(state, tmp_path / 'a.pth')
    model = classifier()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        load(model, str(tmp_path / 'a.pth'), whole=True)
    assert '\n' not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_no_cause_is_made_up() -> None:
    state = classifier().state_dict()
    assert classifier_misfit(state, state) == ''
