"""Count the memory that a training step keeps for its backward pass, without computing.

Tensors are fake: they have shapes and share storage like real ones, but have no memory. So even
a model that fits on no available machine can be counted.
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

# Explains to the reader what the numbers include.
COUNTED = (
    'float32 tensors that autograd keeps between forward and backward pass, each piece of memory '
    'once, without parameters. Segmentors: backbone, heads and their losses. Classifiers: all but '
    'the loss. Detectors: backbone, '
    "neck and heads, on as many RoIs as the samplers take, without losses and RoIAlign's tensors. "
    'fast: no sample dropped by stochastic depth (the maximum; dropped samples need less).'
)


class KeptMemory(NamedTuple):
    """Bytes kept by a training step, and the size of its images in pixels."""

    fast: int
    plain: int  # with fast=False
    batch_size: int
    height: int
    width: int


def count_kept_memory(config: Config, height: int, width: int) -> KeptMemory:
    """Count the memory of a training step on images of this size; see :data:`COUNTED`.

    ``config`` is that of a segmentor, classifier or two-stage detector, and sets the batch size.
    Raises UserError if the model cannot be counted.
    """
    batch = (config.get('train_dataloader') or {}).get('batch_size', 1)
    model = revert_sync_batchnorm(build_on_meta(config)).train()
    if any(getattr(module, 'with_cp', False) for module in model.modules()):
        raise UserError('with_cp recomputes activations, which is not supported')
    try:
        plain = _step_bytes(model, batch, height, width)
        for module in model.modules():
            if hasattr(module, 'fast'):
                module.fast = True
            elif isinstance(module, StochasticDepth):
                module.p = 0.0  # its random values decide what is kept; fake tensors have no values
        return KeptMemory(_step_bytes(model, batch, height, width), plain, batch, height, width)
    except UserError:
        raise
    except Exception as error:  # a model may contain any code
        raise UserError(f'{type(error).__name__}: {first_line(error)}') from error


def kept_bytes(step: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Return the bytes that the graph of ``step()`` keeps for the backward pass, except parameters.

    A storage that several tensors share counts once, and completely even if only a view is kept.
    Tensors released within the step do not count. ``step`` is a forward pass, whose result holds
    the graph.
    """
    left_out = {parameter.untyped_storage()._cdata for parameter in parameters}
    alive: WeakSet[_Kept] = WeakSet()

    def pack(x: Tensor) -> _Kept:
        # Detached, because the graph would otherwise reference itself.
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
    """A tensor, counted as long as a graph keeps it."""

    tensor: Tensor


def _step_bytes(model: nn.Module, batch: int, height: int, width: int) -> int:
    with FakeTensorMode():
        _make_fake(model)
        image = torch.empty(batch, input_channels(model), height, width)
        heads: list[tuple[nn.Module, torch.Size]] = []
        kept = kept_bytes(lambda: _forward(model, image, heads), model.parameters())
    # Losses read the values of labels, except on the meta device.
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
    """Return values that hold the graph; add heads whose loss counts to ``heads``, with shapes."""
    if hasattr(model, 'roi_head'):
        return _forward_detector(model, image)
    if hasattr(model, 'classify'):
        # The logits are (N, num_classes): the loss keeps almost nothing.
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
    masks = int(sampler['num'] * sampler['pos_fraction']) * len(image)  # the maximum
    for head, shape in rois_of_heads(model.roi_head, boxes, masks):
        outputs.append(head(torch.empty(shape, requires_grad=True)))
    return outputs


def _loss_bytes(heads: list[tuple[nn.Module, torch.Size]], pixels: tuple[int, int, int]) -> int:
    """Return the bytes of the losses of heads with logits of these shapes, for pixels (N, H, W)."""
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
        except NotImplementedError:  # no fast form, and mmseg's loss reads values
            pass
    # mmseg's BaseDecodeHead.loss_by_feat without the accuracy, which keeps nothing.
    logits = F.interpolate(
        logits, labels.shape[1:], mode='bilinear', align_corners=head.align_corners
    )
    options = dict(ignore_index=head.ignore_index)
    return [loss(logits, labels, **options) for loss in _listed(head.loss_decode)]
