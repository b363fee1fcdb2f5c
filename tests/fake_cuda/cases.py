"""What is run on the device that is none; each case returns what it is to be judged by.

Imported after :func:`tests.fake_cuda.device.load` alone.
"""

import functools
from collections.abc import Callable
from contextlib import contextmanager
from itertools import chain, product
from unittest import mock

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.models import losses as losses_of_mmseg
from mmseg.models.decode_heads import decode_head
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import mmconvnext  # noqa: F401  (before mmseg and mmdet)
from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.config.config_file import read_config
from mmconvnext.segmentation import resized_conv
from mmconvnext.segmentation.heads import UPerHead
from mmconvnext.segmentation.label_map import merged_labels
from tests.fake_cuda.counting import Count

CASES: dict[str, Callable[[], dict]] = {}
WHOLE = dict(mode='whole')
DTYPES = {'float32': None, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def case(name: str, **options: object):
    """Register a function as a case, with the options that it is called with."""

    def register(function: Callable) -> Callable:
        CASES[name] = lambda: function(**options)
        return function

    return register


@contextmanager
def on_device(training: bool):
    """Fake tensors."""
    with FakeTensorMode(allow_non_fake_inputs=False), torch.set_grad_enabled(training):
        yield


def mixed(dtype: torch.dtype | None) -> torch.autocast:
    """Mixed precision, where there is a dtype; for the forward pass, as trainings have it."""
    return torch.autocast('cuda', dtype or torch.float16, enabled=dtype is not None)


def moved(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """The model with its parameters and buffers on the device; inside of :func:`on_device`."""
    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                data = torch.empty(value.shape, dtype=dtype or value.dtype, device='cuda')
                module._parameters[name] = nn.Parameter(data, value.requires_grad)
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device='cuda')
    return model


def wrong_gradients(model: nn.Module) -> list[str]:
    """Names of parameters without a gradient of their own device, dtype and strides."""
    return [
        name
        for name, value in model.named_parameters()
        if value.requires_grad
        and (
            value.grad is None
            or (value.grad.device, value.grad.dtype, value.grad.stride())
            != (value.device, value.dtype, value.stride())
        )
    ]


def judged(
    model: nn.Module,
    outputs: list[Tensor],
    count: Count,
    trained: bool | None = None,
    **more: object,
) -> dict:
    """The common answers of a case."""
    trained = torch.is_grad_enabled() if trained is None else trained
    return dict(
        devices=sorted({str(out.device) for out in outputs}),
        dtypes=sorted({str(out.dtype).removeprefix('torch.') for out in outputs}),
        wrong_gradients=wrong_gradients(model) if trained else [],
        to_host=dict(count.to_host),
        operators={k: [n, round(count.bytes[k] / 1e9, 2)] for k, n in count.kernels.most_common()},
        **count.total(),
        **more,
    )


def run_backbone(
    arch: str = 'atto',
    training: bool = True,
    dtype: str = 'float32',
    size: tuple[int, int, int] = (4, 65, 97),
    half: bool = False,
    **options: object,
) -> dict:
    """A forward pass and, in training, a backward pass."""
    samples, height, width = size
    backbone = ConvNeXt(arch, **options)
    with on_device(training):
        model = moved(backbone, DTYPES[dtype] if half else None).train(training)
        x = torch.empty(samples, 3, height, width, device='cuda')
        x = x.to(DTYPES[dtype]) if half else x
        with Count() as count:
            with mixed(None if half else DTYPES[dtype]):
                outs = model(x)
            if training:
                given = [out for out in outs if out.requires_grad]
                torch.autograd.backward(given, [torch.empty_like(out) for out in given])
        last = [out.is_contiguous(memory_format=torch.channels_last) for out in outs]
        return judged(model, list(outs), count, channels_last=all(last))


for _grn in (False, True):
    _version = 'V2' if _grn else 'V1'
    for _dtype in DTYPES:
        for _training in (False, True):
            _name = f'backbone {_version} {_dtype} {"training" if _training else "inference"}'
            case(_name, use_grn=_grn, dtype=_dtype, training=_training, drop_path_rate=0.4)(
                run_backbone
            )
    case(f'backbone {_version} with_cp', use_grn=_grn, dtype='float16', with_cp=True)(run_backbone)
    case(f'backbone {_version} plain', use_grn=_grn, dtype='float16', fast=False)(run_backbone)
    case(f'backbone {_version} frozen', use_grn=_grn, dtype='bfloat16', frozen_stages=2)(
        run_backbone
    )
    case(f'backbone {_version} half', use_grn=_grn, dtype='float16', half=True, training=False)(
        run_backbone
    )
    for _training in (False, True):
        for _fast in (True, False):
            _name = f'count {_version} {"training" if _training else "inference"}'
            case(
                _name if _fast else f'{_name} plain',
                arch='tiny',
                use_grn=_grn,
                dtype='bfloat16',
                training=_training,
                size=(16, 512, 512),
                fast=_fast,
            )(run_backbone)


def pixel_loss(fast: bool) -> dict:
    """Loss and accuracy of 150 classes at 8 × 512², from logits in float16, and their gradient."""
    settings = dict(num_classes=150, channels=8, in_channels=[8] * 4, in_index=[0, 1, 2, 3])
    head = UPerHead(**settings, dropout_ratio=0.0, fast=fast)
    with on_device(training=True), mock.patch.object(decode_head, 'accuracy', _accuracy):
        logits = torch.empty(8, 150, 128, 128, device='cuda', dtype=torch.float16)
        logits.requires_grad_()
        samples = labelled(8, 512, 512)
        with Count() as count:
            with mixed(torch.float16):
                losses = head.loss_by_feat(logits, samples)
            losses['loss_ce'].backward()
        return judged(moved(head), [logits.grad], count, trained=False)


def _accuracy(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    # mmseg's counts the pixels that are not ignored, for which it waits: a fake tensor cannot.
    return losses_of_mmseg.accuracy(logits, labels, ignore_index=None)


def labelled(samples: int, height: int, width: int) -> list[SegDataSample]:
    """Data samples with labels on the device."""
    data = [torch.empty(1, height, width, dtype=torch.int64, device='cuda') for _ in range(samples)]
    return [SegDataSample(gt_sem_seg=PixelData(data=one)) for one in data]


case('loss', fast=True)(pixel_loss)
case('loss mmseg', fast=False)(pixel_loss)


def head(fast: bool) -> dict:
    """UPerHead of ConvNeXt-T at 8 × 512² under float16, forward and backward."""
    channels = [96, 192, 384, 768]
    settings = dict(num_classes=150, channels=512, in_channels=channels, in_index=[0, 1, 2, 3])
    norm = dict(type='BN', requires_grad=True)
    head = UPerHead(**settings, pool_scales=(1, 2, 3, 6), norm_cfg=norm, fast=fast)
    kept = functools.lru_cache(resized_conv._spans)  # as real tensors have it
    with on_device(training=True), mock.patch.object(resized_conv, '_spans', kept):
        moved(head)
        maps = [
            torch.empty(8, c, 128 >> i, 128 >> i, device='cuda', requires_grad=True).to(
                memory_format=torch.channels_last
            )
            for i, c in enumerate(channels)
        ]
        for _ in range(2):  # the second time the matrices of resizing are there
            head.zero_grad()
            with Count() as count:
                with mixed(torch.float16):
                    logits = head(maps)
                logits.backward(torch.empty_like(logits))
        return judged(head, [logits], count)


case('head', fast=True)(head)
case('head mmseg', fast=False)(head)


def built(config: str, **changes: object) -> nn.Module:
    """A model of a config, without SyncBN, which refuses what is no real GPU."""
    config = read_config(f'configs/{config}')
    model = config.model.to_dict()
    for norm in [model, *model.values()]:
        if isinstance(norm, dict) and 'norm_cfg' in norm:
            norm['norm_cfg'] = dict(type='BN')
    model['backbone'].pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine')):
        return MODELS.build(ConfigDict(model | changes))


def segmentor(training: bool, dtype: str, slide: bool = False, fast: bool = True) -> dict:
    """UperNet's losses and their gradients, or its predictions."""
    test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(32, 32)) if slide else WHOLE
    model = built('upernet_convnext_atto_samples.py', test_cfg=test_cfg, fast=fast)
    size = (64, 96)
    with on_device(training):
        moved(model).train(training)
        samples = labelled(2, *size)
        for sample in samples:
            sample.set_metainfo(dict(img_shape=size, ori_shape=(75, 100), pad_shape=size))
        x = torch.empty(2, 3, *size, device='cuda')
        with Count() as count:
            with mixed(DTYPES[dtype]):
                results = model(x, samples, mode='loss' if training else 'predict')
            if training:
                outs = [value for name, value in results.items() if 'loss' in name]
                sum(outs).backward()
            else:
                outs = [result.pred_sem_seg.data for result in results]
        return judged(model, outs, count)


for _dtype in DTYPES:
    case(f'segmentor training {_dtype}', training=True, dtype=_dtype)(segmentor)
    case(f'segmentor predicts {_dtype}', training=False, dtype=_dtype)(segmentor)
case('segmentor predicts windows', training=False, dtype='float16', slide=True)(segmentor)


def averaged_views() -> dict:
    """Test-time augmentation of a segmentor: flips at two scales."""
    model = built('upernet_convnext_atto_samples.py', test_cfg=WHOLE)
    with on_device(training=False):
        moved(model).eval()
        views = []
        with Count() as count:
            for size, flip in product(((64, 96), (96, 128)), (False, True)):
                meta = dict(img_shape=size, ori_shape=(75, 100), pad_shape=size, flip=flip)
                meta['flip_direction'] = 'horizontal' if flip else None
                views += model.look(torch.empty(1, 3, *size, device='cuda'), [meta])
            labels = merged_labels(views, None)
        return judged(model, [labels], count)


case('segmentor averages views')(averaged_views)


def classifier(training: bool) -> dict:
    """A classifier's loss and gradients, or its logits."""
    model = built('convnext_t_in1k.py')
    with on_device(training):
        moved(model).train(training)
        x = torch.empty(4, 3, 64, 64, device='cuda')
        with Count() as count:
            with mixed(torch.bfloat16):
                logits = model(x, mode='tensor')
            if training:
                logits.float().sum().backward()
        return judged(model, [logits], count)


case('classifier training', training=True)(classifier)
case('classifier inference', training=False)(classifier)


def detector(training: bool, config: str = 'mask_rcnn_convnext_atto_samples.py') -> dict:
    """All layers of a two-stage detector.

    mmdet's choice of samples, its losses' choice of positive ones and its RoI extractor's of levels
    have sizes that depend on values, which fake tensors lack: the RoI heads get features of given
    RoIs.
    """
    model = built(config)
    with on_device(training):
        moved(model).train(training)
        x = torch.empty(2, 3, 128, 160, device='cuda')
        with Count() as count:
            with mixed(torch.bfloat16):
                maps = model.extract_feat(x)
                outs = [*maps, *chain(*model.rpn_head(maps))]
                of_roi = maps[0].new_empty(16, maps[0].shape[1], 14, 14, requires_grad=training)
                outs += model.roi_head.bbox_head(of_roi[..., :7, :7])
                outs.append(model.roi_head.mask_head(of_roi))
            if training:
                sum(out.float().sum() for out in outs).backward()
        return judged(model, outs, count)


case('detector training', training=True)(detector)
case('detector inference', training=False)(detector)
