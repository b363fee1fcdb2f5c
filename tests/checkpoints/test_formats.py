"""The tables, by properties that any of them must have and by samples of real keys."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmconvnext import ConvNeXt
from mmconvnext.backbones import ARCHITECTURES
from mmconvnext.checkpoints.convert import fit_shape, from_official, to_official
from mmconvnext.checkpoints.description import describe_size
from mmconvnext.checkpoints.formats import (
    FORMATS,
    HF,
    HF_DINOV3,
    MMPRETRAIN,
    OFFICIAL,
    TIMM,
    Format,
    key_map,
)
from mmconvnext.errors import CheckpointError

DEPTHS = [(1, 1, 1, 1), (2, 2, 6, 2), (3, 4, 30, 3)]

# What stands before a ConvNeXt's keys in one whole model or another.
PREFIXES = ['', 'backbone.', 'encoder.', 'convnext.', 'backbone.convnext.', 'model.backbone.']
PREFIXES += ['visual.trunk.']

# Keys as the files have them, and their official names.
SAMPLES = {
    'official': {
        'stages.2.8.pwconv1.bias': 'stages.2.8.pwconv1.bias',
        'norm.weight': 'norm.weight',
    },
    'mmpretrain': {
        'stages.0.1.depthwise_conv.weight': 'stages.0.1.dwconv.weight',
        'stages.3.0.grn.beta': 'stages.3.0.grn.beta',
        'norm3.bias': 'norm3.bias',
    },
    'timm': {
        'stem.1.weight': 'downsample_layers.0.1.weight',
        'stages.1.downsample.1.bias': 'downsample_layers.1.1.bias',
        'stages.2.blocks.5.mlp.grn.weight': 'stages.2.5.grn.gamma',
        'head.fc.weight': 'head.weight',
    },
    'torchvision': {
        'features.6.1.weight': 'downsample_layers.3.1.weight',
        'features.5.2.block.5.bias': 'stages.2.2.pwconv2.bias',
        'features.1.0.layer_scale': 'stages.0.0.gamma',
        'classifier.0.weight': 'norm.weight',
    },
    'hf': {
        'embeddings.patch_embeddings.weight': 'downsample_layers.0.0.weight',
        'encoder.stages.1.downsampling_layer.0.bias': 'downsample_layers.1.0.bias',
        'encoder.stages.2.layers.3.layer_scale_parameter': 'stages.2.3.gamma',
        'hidden_states_norms.stage4.weight': 'norm3.weight',
    },
    'hf-dinov3': {
        'stages.0.downsample_layers.1.weight': 'downsample_layers.0.1.weight',
        'stages.2.layers.4.pointwise_conv2.weight': 'stages.2.4.pwconv2.weight',
        'layer_norm.bias': 'norm.bias',
    },
}


@pytest.mark.parametrize('format', FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize('depths', DEPTHS, ids=str)
def test_no_two_keys_meet(format: Format, depths: tuple[int, ...]) -> None:
    assert_no_two_keys_meet(format, depths)


def assert_no_two_keys_meet(format: Format, depths: tuple[int, ...]) -> None:
    keys = key_map(format._replace(aliases={}), depths)
    assert len(set(keys.values())) == len(keys)
    assert len(key_map(format, depths)) == len(keys) + sum(
        len(key_map(format._replace(aliases={}, parts={part: template}), depths))
        for part, template in format.aliases.items()
    )
    blocks = sum(depths)
    # 11 keys a block, 2 for the stem's layers, the last norm, the head and each output norm.
    expected = 11 * blocks + 3 * 4 + 4 + 2 + 2 * ('head' in format.parts)
    expected += 4 * 2 * ('output_norm' in format.parts)
    expected -= 2 * blocks * ('grn_gamma' not in format.parts)
    assert len(keys) == expected


@pytest.mark.parametrize('format', FORMATS, ids=lambda format: format.name)
def test_samples_of_keys(format: Format) -> None:
    keys = key_map(format, (3, 3, 9, 3))
    for theirs, official in SAMPLES[format.name].items():
        assert keys[theirs] == official


@pytest.mark.parametrize('use_grn', [False, True])
@pytest.mark.parametrize('format', FORMATS, ids=lambda format: format.name)
def test_every_parameter_there_and_back(format: Format, use_grn: bool, small_backbone) -> None:
    if use_grn and 'grn_gamma' not in format.parts:
        pytest.skip('the family has no V2')
    state = small_backbone(use_grn=use_grn).state_dict()
    if 'output_norm' not in format.parts:
        state = {key: value for key, value in state.items() if not key.startswith('norm')}
    theirs = from_official(state, format)
    for prefix in PREFIXES:
        given = {prefix + key: value for key, value in theirs.items()}
        recognised = to_official({**given, 'other_head.weight': torch.ones(1)}, 'a.pth')
        assert recognised.format is format
        assert recognised.prefix == prefix + format.body_prefix
        assert recognised.state.keys() == state.keys()
        for key, value in state.items():
            assert torch.equal(fit_shape(recognised.state[key], value.shape), value), key
        outside, unknown = list(recognised.outside), list(recognised.unknown)
        assert outside + unknown == ['other_head.weight']
        assert bool(recognised.prefix) == bool(outside), 'outside of a prefix is another model part'


@settings(deadline=None, max_examples=40)
@given(
    depths=st.tuples(*[st.integers(1, 6)] * 4),
    width=st.integers(1, 4),
    use_grn=st.booleans(),
    format=st.sampled_from(FORMATS),
)
def test_inverse_of_forward_is_the_identity(depths, width, use_grn, format) -> None:
    assert_no_two_keys_meet(format, depths)
    with torch.device('meta'):
        arch = dict(depths=depths, channels=[width * 2**i for i in range(4)])
        empty = ConvNeXt(arch, use_grn=use_grn).state_dict()
    state = {key: torch.rand(value.shape) for key, value in empty.items()}
    if 'output_norm' not in format.parts:
        state = {key: value for key, value in state.items() if not key.startswith('norm')}
    if use_grn and 'grn_gamma' not in format.parts:
        return
    theirs = from_official(state, format)
    assert len(theirs) == len(state)
    back = to_official(theirs, 'a.pth')
    assert not back.unknown
    assert back.state.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(fit_shape(back.state[key], value.shape), value), key


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_every_size_has_its_name(arch: str) -> None:
    with torch.device('meta'):
        state = ConvNeXt(arch).state_dict()
    assert describe_size(state).startswith(f'{arch}: depths')
    for format in FORMATS:
        kept = {
            key: value
            for key, value in state.items()
            if 'output_norm' in format.parts or not key.startswith('norm')
        }
        assert to_official(from_official(kept, format), 'a.pth').state.keys() == kept.keys()


# Of classifiers' files: where what stands before the keys ends, and shapes of the family's own.
CLASSIFIERS = [
    (
        'official',
        'atto',
        {
            'stages.0.0.pwconv1.weight': (160, 40),
            'stages.0.0.grn.gamma': (1, 1, 1, 160),
            'stages.0.0.grn.beta': (1, 1, 1, 160),
            'norm.bias': (320,),
            'head.bias': (5,),
        },
    ),
    (
        'mmpretrain',
        'atto',
        {
            'backbone.stages.0.0.pointwise_conv1.weight': (160, 40),
            'backbone.stages.0.0.grn.gamma': (160,),
            'backbone.stages.0.0.grn.beta': (160,),
            'backbone.norm3.weight': (320,),
            'head.fc.weight': (5, 320),
        },
    ),
    (
        'timm',
        'atto',
        {
            'stages.0.blocks.0.mlp.fc1.weight': (160, 40, 1, 1),
            'stages.0.blocks.0.mlp.fc1.bias': (160,),
            'stages.0.blocks.0.mlp.grn.weight': (160,),
            'stages.0.blocks.0.mlp.grn.bias': (160,),
            'stages.0.blocks.0.conv_dw.weight': (40, 1, 7, 7),
            'head.norm.weight': (320,),
            'head.fc.weight': (5, 320),
        },
    ),
    (
        'timm',
        'tiny',
        {'stages.3.blocks.2.mlp.fc2.weight': (768, 3072), 'stages.0.blocks.0.gamma': (96,)},
    ),
    (
        'torchvision',
        'tiny',
        {
            'features.1.0.layer_scale': (96, 1, 1),
            'features.1.0.block.3.weight': (384, 96),
            'classifier.0.weight': (768,),
            'classifier.2.weight': (5, 768),
        },
    ),
    (
        'hf',
        'tiny',
        {
            'convnext.embeddings.patch_embeddings.weight': (96, 3, 4, 4),
            'convnext.encoder.stages.0.layers.0.layer_scale_parameter': (96,),
            'convnext.layernorm.weight': (768,),
            'classifier.weight': (5, 768),
        },
    ),
    (
        'hf',
        'atto',
        {
            'convnextv2.encoder.stages.0.layers.0.grn.weight': (1, 1, 1, 160),
            'convnextv2.encoder.stages.0.layers.0.grn.bias': (1, 1, 1, 160),
            'convnextv2.layernorm.bias': (320,),
            'classifier.bias': (5,),
        },
    ),
    (
        'hf-dinov3',
        'tiny',
        {
            'model.stages.0.downsample_layers.0.weight': (96, 3, 4, 4),
            'model.stages.0.layers.0.pointwise_conv1.weight': (384, 96),
            'layer_norm.weight': (768,),
        },
    ),
]


@pytest.mark.parametrize(
    ('family', 'arch', 'shapes'), CLASSIFIERS, ids=[f'{c[0]}-{c[1]}' for c in CLASSIFIERS]
)
def test_classifiers_have_their_family_s_names_and_shapes(
    family: str, arch: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    (format,) = (format for format in FORMATS if format.name == family)
    width = {'atto': 320, 'tiny': 768}[arch]
    with torch.device('meta'):
        body = ConvNeXt(arch, use_grn=arch == 'atto').state_dict()
        state = {key: value for key, value in body.items() if not key.startswith('norm')}
        state |= {'norm.weight': torch.ones(width), 'norm.bias': torch.ones(width)}
        if 'head' in format.parts:
            state |= {'head.weight': torch.ones(5, width), 'head.bias': torch.ones(5)}
    for ours in (state, from_official(state, OFFICIAL)):  # GRN's vectors flat, and not
        theirs = from_official(ours, format)
        assert {key: tuple(theirs[key].shape) for key in shapes} == shapes
    back = to_official(theirs, 'a.pth')
    assert back.format is format
    assert back.state.keys() == state.keys()
    assert not back.unknown
    assert not back.outside
    again = from_official(back.state, format)
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in theirs.items()}
    official = from_official(back.state, OFFICIAL)
    assert {value.ndim for key, value in official.items() if '.pwconv' in key} == {1, 2}


def test_older_transformers_number_their_norms(small_backbone) -> None:
    state = small_backbone().state_dict()
    older = {
        re.sub(r'norms\.stage(\d)', lambda m: f'norms.{int(m[1]) - 1}', key): value
        for key, value in from_official(state, HF).items()
    }
    assert 'hidden_states_norms.0.weight' in older
    assert to_official(older, 'a.pth').state.keys() == state.keys()


def test_dinov3_s_duplicate_norm_is_no_surprise(small_backbone) -> None:
    state = {k: v for k, v in small_backbone().state_dict().items() if not k.startswith('norm')}
    norm = torch.ones(32)
    state |= {f'{name}.{p}': norm for name in ('norm', 'norms.3') for p in ('weight', 'bias')}
    recognised = to_official(state, 'a.pth')
    assert not recognised.unknown
    assert recognised.format.name == 'official'
    assert list(recognised.aside) == ['norms.3.weight', 'norms.3.bias']
    below = to_official({f'backbone.{key}': value for key, value in state.items()}, 'a.pth')
    assert list(below.aside) == list(recognised.aside), 'without what stands before'


def test_mmpretrain_s_classifier_norm_is_not_an_output_norm(small_backbone) -> None:
    state = from_official(small_backbone().state_dict(), MMPRETRAIN)
    classifier = {k: v for k, v in state.items() if not k.startswith(('norm0', 'norm1', 'norm2'))}
    assert 'norm.weight' in to_official(classifier, 'a.pth').state
    assert 'norm3.weight' in to_official(state, 'a.pth').state
    whole = {f'backbone.{key}': value for key, value in classifier.items()}
    segmentor = {**whole, 'decode_head.conv_seg.weight': torch.ones(1)}
    assert 'norm.weight' in to_official(whole, 'a.pth').state
    assert 'norm3.weight' in to_official(segmentor, 'a.pth').state


def test_fcmae_s_sparse_layout_becomes_dense(small_backbone) -> None:
    backbone = small_backbone(use_grn=True)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter)
    dense = {k: v for k, v in backbone.state_dict().items() if not k.startswith('norm')}
    sparse = {'decoder.0.weight': torch.ones(1), 'mask_token': torch.ones(1)}
    for key, value in dense.items():
        if 'dwconv.weight' in key:
            # (C, 1, y, x) → x before y, then flat: (k², C).
            key = key.replace('weight', 'kernel')
            value = value[:, 0].transpose(1, 2).flatten(1).T
        elif re.match(r'downsample_layers\.[123]\.1\.weight', key):
            # (out, in, y, x) → (k², in, out), likewise.
            key = key.replace('weight', 'kernel')
            value = value.transpose(2, 3).flatten(2).permute(2, 1, 0)
        elif re.match(r'downsample_layers\.[123]\.0', key):
            key = re.sub(r'(weight|bias)', r'ln.\1', key)
        elif 'pwconv' in key:
            key = key.replace('.weight', '.linear.weight').replace('.bias', '.linear.bias')
        elif '.norm.' in key:
            key = key.replace('.norm.', '.norm.ln.')
        elif '.grn.' in key:
            value = value[None]
        if (
            key.endswith('.bias')
            and '.ln.' not in key
            and not key.startswith('downsample_layers.0')
        ):
            value = value[None]
        sparse[f'encoder.{key}'] = value
    recognised = to_official(sparse, 'a.pth')
    assert list(recognised.outside) == ['decoder.0.weight', 'mask_token']
    assert not recognised.unknown
    assert recognised.state.keys() == dense.keys()
    for key, value in dense.items():
        assert torch.equal(fit_shape(recognised.state[key], value.shape), value), key
        assert recognised.state[key].ndim == value.ndim or not key.endswith('.bias'), key


@pytest.mark.parametrize('rows', [5, 0])
def test_kernels_of_no_known_layout_get_an_answer(rows: int) -> None:
    state = {'downsample_layers.0.0.kernel': torch.ones(rows, 3, 2)}
    state['stages.0.0.dwconv.kernel'] = torch.ones(rows, 2)
    message = rf'expected dense.*, \({rows}, 3, 2\)\) and 1 more'
    with pytest.raises(CheckpointError, match=message):
        to_official(state, 'a.pth')
    unknown = {f'{letter}.kernel': torch.ones(4, 2).to_sparse() for letter in 'abc'}
    unknown['d.kernel'] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r'found a\.weight, b\.weight, c\.weight, …'):
        to_official(unknown, 'a.pth')


def test_two_networks_in_a_file_are_not_guessed_between(small_backbone) -> None:
    state = small_backbone().state_dict()
    both = {f'{name}.backbone.{k}': v for name in ('student', 'teacher') for k, v in state.items()}
    with pytest.raises(CheckpointError, match=r"found 2, below 'student\.backbone\.', 'teacher"):
        to_official(both, 'a.pth')


def test_timm_s_norm_before_the_pooling(small_backbone) -> None:
    state = small_backbone().state_dict()
    state = {key: value for key, value in state.items() if not key.startswith('norm')}
    state |= {'norm.weight': torch.ones(32), 'norm.bias': torch.zeros(32)}
    theirs = {
        key.replace('head.norm.', 'norm_pre.'): value
        for key, value in from_official(state, TIMM).items()
    }
    assert 'norm_pre.bias' in theirs
    assert to_official(theirs, 'a.pth').state.keys() == state.keys()
    both = {**theirs, 'head.norm.bias': torch.ones(32)}
    assert list(to_official(both, 'a.pth').unknown) == ['head.norm.bias'], 'none is overwritten'


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        (
            'roi_head.mask_head.bias',
            'this is a whole detector, its backbone looks like a ResNet',
        ),
        ('decode_head.bias', 'this is a whole segmentor, its backbone looks like a ResNet'),
        ('fc.bias', 'these look like a ResNet'),
        ('layers.0.blocks.0.attn.cpb_mlp.0.weight', 'these look like Swin V2'),
    ],
)
def test_whole_models_of_another_kind_are_named(key: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        to_official({'backbone.bn1.weight': torch.ones(1), key: torch.ones(1)}, 'a.pth')


def test_a_new_family_is_one_table_and_one_sample() -> None:
    assert SAMPLES.keys() == {format.name for format in FORMATS}


def test_fit_shape_moves_ones_alone() -> None:
    x = torch.arange(6.0)
    assert fit_shape(x.reshape(2, 3, 1, 1), (2, 3)).shape == (2, 3)
    assert fit_shape(x.reshape(6, 1, 1), (6,)).shape == (6,)
    assert fit_shape(x.reshape(2, 3), (3, 2)).shape == (2, 3), 'left for the check of shapes'


def test_a_family_without_a_place_raises() -> None:
    with torch.device('meta'):
        state = ConvNeXt('atto', use_grn=True).state_dict()
    expected = r'^hf-dinov3 has no place for 32 tensors: ([^,]+, ){4}[^,]+$'
    with pytest.raises(CheckpointError, match=expected):
        from_official(state, HF_DINOV3)
    norms = {'norm.weight': torch.ones(1), 'norm3.weight': torch.ones(1)}
    with pytest.raises(CheckpointError, match='one name for norm and norm3'):
        from_official(norms, MMPRETRAIN)
