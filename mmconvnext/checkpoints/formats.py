"""The tensor names of each family of ConvNeXt files, as data.

A format has, for each part of the network, the template of its keys. ``{i}`` is the stage,
``{j}`` the block, ``{p}`` weight or bias; for formats with other numbering, ``{i1}`` is i + 1,
``{even}`` 2i and ``{odd}`` 2i + 1. Conversion from one format to another goes through the
official names.

To add a family, add a :class:`Format` to :data:`FORMATS` and a sample of its keys to
tests/checkpoints/test_formats.py.

Sources: facebookresearch/ConvNeXt @048efce; mmpretrain @ee7f2e8, tools/model_converters; timm
1.0.31, models/convnext.py; torchvision 0.28, models/convnext.py; transformers 5.23,
models/convnext, convnextv2 and dinov3_convnext; facebookresearch/ConvNeXt-V2, utils.py.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# Parts that occur at each stage after the first, and in each block. Other parts occur at each
# stage, or once: then their templates have no number and give the same key for every stage.
DOWNSAMPLING = ('down_norm', 'down_conv')
BLOCK = ('dwconv', 'block_norm', 'pwconv1', 'pwconv2', 'gamma', 'grn_gamma', 'grn_beta')


_FLAT = MappingProxyType({'gamma': (-1,), 'grn_gamma': (-1,), 'grn_beta': (-1,)})


class Format(NamedTuple):
    """A family's key templates by part; a missing part does not exist in the family."""

    name: str
    parts: Mapping[str, str]
    # Alternative templates in other files of the family: read, but never written.
    aliases: Mapping[str, str] = MappingProxyType({})
    aside: tuple[str, ...] = ()  # prefixes of keys that a backbone does not use
    # Shapes of vectors to which some families add dimensions of one.
    shapes: Mapping[str, tuple[int, ...]] = _FLAT
    # Sizes whose linear layers, (out, in) in the official files, are 1×1 convolutions here.
    convolutional: tuple[str, ...] = ()
    # Prefix of all keys except the head's in a classifier's file: V1, V2.
    classifier_prefix: tuple[str, str] = ('', '')
    # Prefix, in any file of the family, of all keys except the last norm's and the head's.
    body_prefix: str = ''
    # Whether a classifier's last norm has the name of the fourth stage's output norm.
    norm_is_norm3: bool = False


_OFFICIAL_BLOCK = 'stages.{i}.{j}.'
_TIMM_BLOCK = 'stages.{i}.blocks.{j}.'
_TORCHVISION_BLOCK = 'features.{odd}.{j}.'
_HF_BLOCK = 'encoder.stages.{i}.layers.{j}.'
_DINOV3_BLOCK = 'stages.{i}.layers.{j}.'

_OFFICIAL_PARTS = {
    'stem_conv': 'downsample_layers.0.0.{p}',
    'stem_norm': 'downsample_layers.0.1.{p}',
    'down_norm': 'downsample_layers.{i}.0.{p}',
    'down_conv': 'downsample_layers.{i}.1.{p}',
    'dwconv': _OFFICIAL_BLOCK + 'dwconv.{p}',
    'block_norm': _OFFICIAL_BLOCK + 'norm.{p}',
    'pwconv1': _OFFICIAL_BLOCK + 'pwconv1.{p}',
    'pwconv2': _OFFICIAL_BLOCK + 'pwconv2.{p}',
    'gamma': _OFFICIAL_BLOCK + 'gamma',
    'grn_gamma': _OFFICIAL_BLOCK + 'grn.gamma',
    'grn_beta': _OFFICIAL_BLOCK + 'grn.beta',
    'output_norm': 'norm{i}.{p}',
    'norm': 'norm.{p}',
    'head': 'head.{p}',
}

OFFICIAL = Format(
    'official',
    _OFFICIAL_PARTS,
    # `norms`: DINOv3's own files contain the last norm twice. Files distilled from several teachers
    # (EUPE) also have norms and projectors of the distillation. The rest is FCMAE's and used in
    # pre-training only.
    aside=('norms.', 'projectors.', 'decoder.', 'proj.', 'pred.', 'mask_token'),
    shapes={**_FLAT, 'grn_gamma': (1, 1, 1, -1), 'grn_beta': (1, 1, 1, -1)},
)

MMPRETRAIN = Format(
    'mmpretrain',
    {
        **_OFFICIAL_PARTS,
        'dwconv': _OFFICIAL_BLOCK + 'depthwise_conv.{p}',
        'pwconv1': _OFFICIAL_BLOCK + 'pointwise_conv1.{p}',
        'pwconv2': _OFFICIAL_BLOCK + 'pointwise_conv2.{p}',
        'head': 'head.fc.{p}',
    },
    classifier_prefix=('backbone.', 'backbone.'),
    norm_is_norm3=True,
)

_TIMM_PARTS = {
    'stem_conv': 'stem.0.{p}',
    'stem_norm': 'stem.1.{p}',
    'down_norm': 'stages.{i}.downsample.0.{p}',
    'down_conv': 'stages.{i}.downsample.1.{p}',
    'dwconv': _TIMM_BLOCK + 'conv_dw.{p}',
    'block_norm': _TIMM_BLOCK + 'norm.{p}',
    'pwconv1': _TIMM_BLOCK + 'mlp.fc1.{p}',
    'pwconv2': _TIMM_BLOCK + 'mlp.fc2.{p}',
    'gamma': _TIMM_BLOCK + 'gamma',
    'grn_gamma': _TIMM_BLOCK + 'mlp.grn.weight',
    'grn_beta': _TIMM_BLOCK + 'mlp.grn.bias',
    'norm': 'head.norm.{p}',
    'head': 'head.fc.{p}',
}

TIMM = Format(
    'timm',
    _TIMM_PARTS,
    aliases={
        # features_only=True flattens the containers.
        **{
            part: template.replace('stem.', 'stem_').replace('stages.', 'stages_')
            for part, template in _TIMM_PARTS.items()
            if template.startswith('st')
        },
        'norm': 'norm_pre.{p}',  # before the pooling: convnext_tiny_hnf
    },
    aside=('head.pre_logits.',),  # of convnext_large_mlp, between norm and head
    convolutional=('atto', 'femto', 'pico', 'nano'),
)

TORCHVISION = Format(
    'torchvision',
    {
        'stem_conv': 'features.0.0.{p}',
        'stem_norm': 'features.0.1.{p}',
        'down_norm': 'features.{even}.0.{p}',
        'down_conv': 'features.{even}.1.{p}',
        'dwconv': _TORCHVISION_BLOCK + 'block.0.{p}',
        'block_norm': _TORCHVISION_BLOCK + 'block.2.{p}',
        'pwconv1': _TORCHVISION_BLOCK + 'block.3.{p}',
        'pwconv2': _TORCHVISION_BLOCK + 'block.5.{p}',
        'gamma': _TORCHVISION_BLOCK + 'layer_scale',
        'norm': 'classifier.0.{p}',
        'head': 'classifier.2.{p}',
    },
    shapes={**_FLAT, 'gamma': (-1, 1, 1)},
)

HF = Format(
    'hf',
    {
        'stem_conv': 'embeddings.patch_embeddings.{p}',
        'stem_norm': 'embeddings.layernorm.{p}',
        'down_norm': 'encoder.stages.{i}.downsampling_layer.0.{p}',
        'down_conv': 'encoder.stages.{i}.downsampling_layer.1.{p}',
        'dwconv': _HF_BLOCK + 'dwconv.{p}',
        'block_norm': _HF_BLOCK + 'layernorm.{p}',
        'pwconv1': _HF_BLOCK + 'pwconv1.{p}',
        'pwconv2': _HF_BLOCK + 'pwconv2.{p}',
        'gamma': _HF_BLOCK + 'layer_scale_parameter',
        'grn_gamma': _HF_BLOCK + 'grn.weight',
        'grn_beta': _HF_BLOCK + 'grn.bias',
        'output_norm': 'hidden_states_norms.stage{i1}.{p}',
        'norm': 'layernorm.{p}',
        'head': 'classifier.{p}',
    },
    aliases={'output_norm': 'hidden_states_norms.{i}.{p}'},  # older UperNet files
    shapes={**_FLAT, 'grn_gamma': (1, 1, 1, -1), 'grn_beta': (1, 1, 1, -1)},
    classifier_prefix=('convnext.', 'convnextv2.'),
)

HF_DINOV3 = Format(
    'hf-dinov3',
    {
        'stem_conv': 'stages.0.downsample_layers.0.{p}',
        'stem_norm': 'stages.0.downsample_layers.1.{p}',
        'down_norm': 'stages.{i}.downsample_layers.0.{p}',
        'down_conv': 'stages.{i}.downsample_layers.1.{p}',
        'dwconv': _DINOV3_BLOCK + 'depthwise_conv.{p}',
        'block_norm': _DINOV3_BLOCK + 'layer_norm.{p}',
        'pwconv1': _DINOV3_BLOCK + 'pointwise_conv1.{p}',
        'pwconv2': _DINOV3_BLOCK + 'pointwise_conv2.{p}',
        'gamma': _DINOV3_BLOCK + 'gamma',
        'norm': 'layer_norm.{p}',
    },
    body_prefix='model.',
)

#: All of them.
FORMATS = (OFFICIAL, MMPRETRAIN, TIMM, TORCHVISION, HF, HF_DINOV3)


def key_map(format: Format, depths: tuple[int, ...]) -> dict[str, str]:
    """Return the official key for every possible key of a format, given the blocks of each stage.

    If a tensor has several keys, the one that the family writes today comes last.
    """
    keys = {}
    for part, template in [*format.aliases.items(), *format.parts.items()]:
        for place in _places(part, depths):
            for parameter in ('weight', 'bias') if '{p}' in template else ('',):
                fields = {**place, 'p': parameter}
                keys[template.format(**fields)] = OFFICIAL.parts[part].format(**fields)
    return keys


def _places(part: str, depths: tuple[int, ...]) -> list[dict[str, int]]:
    first = 1 if part in DOWNSAMPLING else 0
    return [
        {'i': i, 'i1': i + 1, 'even': 2 * i, 'odd': 2 * i + 1, 'j': j}
        for i in range(first, len(depths))
        for j in range(depths[i] if part in BLOCK else 1)
    ]
