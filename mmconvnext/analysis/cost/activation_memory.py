"""What a training step keeps for its backward pass, counted without computing anything.

Tensors are fake: they have shapes and share memory as real ones do, but hold none. So a model that
fits no machine at hand can be counted on any.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from mmconvnext.analysis.cost.complexity import build_on_meta, input_channels, rois_of_heads
from mmconvnext.backbones.layers import StochasticDepth
from mmconvnext.errors import UserError, first_line

# What the numbers are of, for who reads them.
COUNTED = (
    'float32 tensors that autograd keeps between forward and backward pass, each piece of memory '
    'once, parameters left out. Segmentors: backbone, heads and their losses. Classifiers: all but '
    'the loss. Detectors: backbone, '
    "neck and heads, on as many RoIs as the samplers take, without losses and RoIAlign's own. "
    'fast: no sample dropped by stochastic depth (what has to fit; with dropped ones less).'
)


class KeptMemory(NamedTuple):
    """Bytes kept by a training step of images of a size in pixels."""

    fast: int
    plain: int  # with fast=False
    batch_size: int
    height: int
    width: int


def count_kept_memory(config: Config, height: int, width: int) -> KeptMemory:
    """Count a training step on images of this size in pixels; :data:`COUNTED` says what of it.

    ``config`` is of a segmentor, classifier or two-stage detector; its batch size is taken. Raises
    UserError where it cannot be counted.
    """
    batch = (config.get('train_dataloader') or {}).get('batch_size', 1)
    model = revert_sync_batchnorm(build_on_meta(config)).train()
    if any(getattr(module, 'with_cp', False) for module in model.modules()):
        raise UserError('with_cp keeps little and computes again, which is not counted')
    try:
        plain = _step_bytes(model, batch, height, width)
        for module in model.modules():
            if hasattr(module, 'fast'):
                module.fast = True
            elif isinstance(module, StochasticDepth):
                module.p = 0.0  # whose draws decide what is kept, and fake tensors have no values
        return KeptMemory(_step_bytes(model, batch, height, width), plain, batch, height, width)
    except UserError:
        raise
    except Exception as error:  # a model is anybody's code
        raise UserError(f'{type(error).__name__}: {first_line(error)}') from error


def kept_bytes(step: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Bytes that the graph of ``step()`` keeps for the backward pass, parameters left out.

    Memory that several tensors share counts once, and all of it where a view is kept. What a graph
    keeps that is given up again within the step does not count. The result of ``step``, a forward
    pass, holds the graph.
    """
    left_out = {parameter.untyped_storage()._cdata for parameter in parameters}
    alive: WeakSet[_Kept] = WeakSet()

    def pack(x: Tensor) -> _Kept:
        # Without its own place in the graph, which would then hold itself.
        kept = _Kept(x.detach())
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        graph = step()
    storages = [kept.tensor.untyped_storage() for kept in alive]
    del graph
    sizes = {storage._cdata: storage.nbytes() for storage in storages}
    return sum(size for address, size in sizes.items() if address not in left_out)


@dataclass(eq=False)
class _Kept:
    """A tensor for as long as a graph keeps it."""

    tensor: Tensor


def _step_bytes(model: nn.Module, batch: int, height: int, width: int) -> int:
    with FakeTensorMode():
        _make_fake(model)
        image = torch.empty(batch, input_channels(model), height, width)
        heads: list[tuple[nn.Module, torch.Size]] = []
        kept = kept_bytes(lambda: _forward(model, image, heads), model.parameters())
    # Losses look at their labels, but not on the meta device.
    return kept + _loss_bytes(heads, (batch, height, width))


def _make_fake(model: nn.Module) -> None:
    """Replace parameters and buffers; they may be on the meta device."""
    for module in model.modules():
        for name, x in module.named_parameters(recurse=False):
            fake = torch.empty(x.shape, dtype=x.dtype)
            module.register_parameter(name, nn.Parameter(fake, x.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _forward(model: Any, image: Tensor, heads: list[tuple[nn.Module, torch.Size]]) -> list[object]:
    """What holds the graph; adds to ``heads`` those whose loss is to be counted, with its shape."""
    if hasattr(model, 'roi_head'):
        return _forward_detector(model, image)
    if hasattr(model, 'classify'):
        # Of the classes' number an image: its loss keeps as good as nothing.
        return [model.classify(image)]
    if not isinstance(getattr(model, 'decode_head', None), nn.Module):
        raise UserError('expected a model with a decode_head, a roi_head or classify')
    features = model.extract_feat(image)
    outputs = []
    for head in [model.decode_head, *_listed(getattr(model, 'auxiliary_head', None) or [])]:
        outputs.append(head.forward(features))
        heads.append((head, outputs[-1].shape))
    return outputs


def _listed(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple | nn.ModuleList) else [value]


def _forward_detector(model: Any, image: Tensor) -> list[object]:
    outputs: list[object] = [model.rpn_head(model.neck(model.backbone(image)))]
    sampler = _listed(model.roi_head.train_cfg)[0]['sampler']
    boxes = sampler['num'] * len(image)
    masks = int(sampler['num'] * sampler['pos_fraction']) * len(image)  # the most there can be
    for head, shape in rois_of_heads(model.roi_head, boxes, masks):
        outputs.append(head(torch.empty(shape, requires_grad=True)))
    return outputs


def _loss_bytes(heads: list[tuple[nn.Module, torch.Size]], pixels: tuple[int, int, int]) -> int:
    """Of the losses of heads with logits of these shapes, for (batch, height, width) pixels."""
    labels = torch.zeros(pixels, dtype=torch.long, device='meta')
    inputs = [torch.empty(shape, device='meta', requires_grad=True) for _, shape in heads]
    return kept_bytes(
        lambda: [_loss(head, logits, labels) for (head, _), logits in zip(heads, inputs)], ()
    )


def _loss(head: Any, logits: Tensor, labels: Tensor) -> object:
    if getattr(head, 'fast', False):
        samples = [SimpleNamespace(gt_sem_seg=SimpleNamespace(data=one[None])) for one in labels]
        try:
            return head.loss_by_feat(logits, samples)
        except NotImplementedError:  # this loss has no fast form: mmseg's, which looks at values
            pass
    # mmseg's BaseDecodeHead.loss_by_feat but for the accuracy, which keeps nothing.
    logits = F.interpolate(
        logits, labels.shape[1:], mode='bilinear', align_corners=head.align_corners
    )
    options = dict(ignore_index=head.ignore_index)
    return [loss(logits, labels, **options) for loss in _listed(head.loss_decode)]
