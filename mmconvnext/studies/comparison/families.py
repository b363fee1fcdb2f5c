"""The backbones to compare, as published in a segmentor and a detector.

Swin and ResNet are mmseg's and mmdet's, by their registry names; head and neck are those of the
configs here, so that only the backbone differs.
"""

import copy
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from mmengine.config import Config

from mmconvnext.errors import UserError

SIZES = ('T', 'S', 'B', 'L')
FAMILIES = ('convnext', 'swin', 'resnet', 'convnext_plain')  # plain: without the fused block


class Model(NamedTuple):
    """A segmentor or a detector into which the backbones are put; sizes are (height, width)."""

    title: str
    config: str  # file in configs/ with its head
    package: str  # package of its models
    counted: tuple[int, int]  # size at which the papers count, in pixels
    measured: tuple[int, int]  # default size for timing


MODELS: Mapping[str, Model] = {
    'upernet': Model(
        'UperNet, ADE20K', 'upernet_convnext_t_ade20k.py', 'mmseg', (512, 2048), (512, 512)
    ),
    'mask_rcnn': Model(
        'Mask R-CNN, COCO', 'mask_rcnn_convnext_t_coco.py', 'mmdet', (800, 1280), (800, 1344)
    ),
}


class Backbone(NamedTuple):
    """A backbone of one family and size."""

    family: str
    size: str
    label: str  # name, such as ``Swin-T``
    channels: tuple[int, ...]  # of its four maps
    config: Mapping[str, Any]  # for the registry of its model


# Swin Transformer, arXiv 2103.14030, section 3.3: width, depth of stage 3, heads of stage 1.
_SWIN = {'T': (96, 6, 3), 'S': (96, 18, 3), 'B': (128, 18, 4), 'L': (192, 18, 6)}
_CONVNEXT = {'T': ('tiny', 96), 'S': ('small', 96), 'B': ('base', 128), 'L': ('large', 192)}
# The ResNet for each size, by convention. 50 and 101 have the size of T and S, 152 is smaller than
# B, and there is none for L.
_RESNET = {'T': 50, 'S': 101, 'B': 152}


def backbone(family: str, size: str, model: str) -> Backbone | None:
    """Return the backbone as trained in a model, or None if the family lacks that size."""
    if family == 'swin':
        return _swin(size, model)
    if family == 'resnet':
        return _resnet(size, model) if size in _RESNET else None
    arch, width = _CONVNEXT[size]
    config: dict[str, Any] = dict(
        type='mmconvnext.ConvNeXt',
        arch=arch,
        out_indices=(0, 1, 2, 3),
        # From the papers' recipes; besides XL, only S in UperNet has another value.
        drop_path_rate=0.3 if (model, size) == ('upernet', 'S') else 0.4,
        layer_scale_init_value=1.0,
    )
    label = f'ConvNeXt-{size}'
    if family == 'convnext_plain':
        config['fast'] = False
        label += ', plain'
    return Backbone(family, size, label, _doubling(width), config)


def _swin(size: str, model: str) -> Backbone:
    width, depth, heads = _SWIN[size]
    config = dict(
        type='SwinTransformer',
        embed_dims=width,
        depths=(2, 2, depth, 2),
        num_heads=_doubling(heads),
        window_size=7,
        out_indices=(0, 1, 2, 3),
        # As in mmseg's and mmdet's configs.
        drop_path_rate=0.3 if model == 'upernet' else 0.2,
    )
    return Backbone('swin', size, f'Swin-{size}', _doubling(width), config)


def _resnet(size: str, model: str) -> Backbone:
    config = dict(
        # mmseg's UperNet has the deeper stem; mmdet's Mask R-CNN has the plain stem, and freezes
        # stem, stage 1 and the statistics of its norms.
        type='ResNetV1c' if model == 'upernet' else 'ResNet',
        depth=_RESNET[size],
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1 if model == 'upernet' else 1,
        norm_eval=model != 'upernet',
        norm_cfg=dict(type='BN', requires_grad=True),
        style='pytorch',
    )
    return Backbone('resnet', size, f'ResNet-{_RESNET[size]}', _doubling(256), config)


def _doubling(first: int) -> tuple[int, ...]:
    return tuple(first * 2**stage for stage in range(4))


def chosen(model: str, families: Iterable[str], sizes: Iterable[str]) -> list[Backbone]:
    """Return the backbones to compare, size by size."""
    found = [backbone(family, size, model) for size in sizes for family in families]
    return [one for one in found if one]


def with_backbone(config: Config, one: Backbone) -> Config:
    """Return a copy of a segmentor's or a Mask R-CNN's config with another backbone.

    Pretrained weights are removed, and SyncBN is replaced by BN.
    """
    changed = copy.deepcopy(config)
    model = changed.model
    model.backbone = dict(one.config)
    if 'neck' in model:
        model.neck.in_channels = list(one.channels)
        return changed
    head, auxiliary = model.decode_head, model.auxiliary_head
    head.in_channels = one.channels
    auxiliary.in_channels = one.channels[auxiliary.in_index]
    head.norm_cfg.type = auxiliary.norm_cfg.type = 'BN'
    return changed


def require_packages(models: Iterable[str]) -> None:
    """Raise a UserError if a package that a model needs is not installed."""
    for name in models:
        package = MODELS[name].package
        if find_spec(package) is None:
            others = [other for other in MODELS if MODELS[other].package != package]
            raise UserError(
                f'{name}: expected {package}, found it not installed; run python '
                f'tools/doctor.py for the command, or compare only --models '
                f'{" ".join(others)}'
            )
