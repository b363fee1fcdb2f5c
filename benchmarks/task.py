"""Steps of a model to measure, ours or a rival's with our weights, on fixed inputs."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from benchmarks.case import Tolerances
from mmconvnext.analysis.benchmark.batch import box_heads, packed_images
from mmconvnext.analysis.benchmark.step import ModelStep, loss
from mmconvnext.analysis.cost import complexity
from mmconvnext.config.config_file import read_config
from mmconvnext.errors import UserError
from mmconvnext.registry import MODELS as OUR_MODELS

# Takes our model and its config; returns a rival with our weights, and our parameters' names.
Builder = Callable[[nn.Module, dict], tuple[nn.Module, Mapping[str, str]]]
SCOPES = {'backbone': 'mmengine', 'head': 'mmseg', 'segmentor': 'mmseg', 'detector': 'mmdet'}
STRIDES = (4, 8, 16, 32)
DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
# With random weights, classes and boxes have almost equal scores, and some change places. Also,
# rounding switches a few of a million ReLUs on or off.
TOLERANCES = {
    'backbone': Tolerances(),
    'head': Tolerances(gradients=1e-2),
    'segmentor': Tolerances(outputs=1e-3, gradients=1e-2),
    'detector': Tolerances(outputs=1e-2),
}
# For mixed precision, where implementations round at different places.
ROUNDED = Tolerances(outputs=5e-2, gradients=1e-1)


class Task(NamedTuple):
    """The settings shared by all variants of a case; picklable."""

    kind: str
    config: dict  # of the model
    size: tuple[int, int]
    batch: int
    training: bool
    device: str
    amp: str | None = None  # a key of DTYPES
    tf32: bool = False

    @property
    def dtype(self) -> torch.dtype | None:
        return DTYPES[self.amp] if self.amp else None

    @property
    def title(self) -> str:
        height, width = self.size
        size = f'{height}²' if height == width else f'{height}×{width}'
        precision = f', {self.amp}' if self.amp else ', TF32' if self.tf32 else ''
        step = 'training step' if self.training else 'inference'
        return f'{self.batch} × {size}, {step}{precision}'

    @property
    def tolerances(self) -> Tolerances:
        return ROUNDED if self.amp or self.tf32 else TOLERANCES[self.kind]


def backbone_config(arch: str, use_grn: bool, drop_path_rate: float) -> dict:
    """Return our backbone's config; V1's layer scale starts at 1, so that branches matter."""
    options = dict(use_grn=use_grn, drop_path_rate=drop_path_rate)
    scale = None if use_grn else 1.0
    return dict(type='mmconvnext.ConvNeXt', arch=arch, layer_scale_init_value=scale, **options)


def model_config(kind: str, path: Path) -> dict:
    """Return the config of a file's head, segmentor or detector, without pretrained weights.

    All ``in_channels`` are filled in, because a separate head and other implementations cannot get
    them from a backbone. Raises UserError if the file does not exist, or has another kind of model.
    """
    if not path.is_file():
        raise UserError(f'--config: expected a config file, got {path}')
    model = read_config(path).model.to_dict()
    required = 'roi_head' if kind == 'detector' else 'decode_head'
    if required not in model:
        raise UserError(f'--config: expected a model with a {required} for {kind}, got {path}')
    model['backbone'].pop('init_cfg', None)
    built = complexity.build_on_meta(Config(dict(model=model, default_scope=SCOPES[kind])))
    for part in ('neck', 'decode_head', 'auxiliary_head'):
        config, channels = model.get(part), getattr(getattr(built, part, None), 'in_channels', None)
        if channels and config.get('in_channels') is None:
            config['in_channels'] = channels
    if kind == 'head':
        head = model['decode_head']
        OUR_MODELS.import_from_location()
        ours = head['type'] in OUR_MODELS.module_dict
        return head | {'type': f'mmconvnext.{head["type"]}'} if ours else head
    return model | ({'test_cfg': dict(mode='whole')} if kind == 'segmentor' else {})


def prepare(
    task: Task,
    build: Builder | None = None,
    *,
    channels_last: bool = False,
    compiled: bool = False,
    mode: str | None = None,
    fast: bool = True,
    options: dict[str, object] | None = None,
) -> ModelStep:
    """Return a step of our model or of the rival from ``build``; ``options``: our backbone's.

    ``mode`` is torch.compile's.
    """
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with DefaultScope.overwrite_default_scope(SCOPES[task.kind]):
        model, names = _ours(task, fast, options or {}), None
        if build:
            model, names = build(model, task.config)
        model = revert_sync_batchnorm(model)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                # The usual epsilon magnifies rounding if a pooled pixel's two values are almost
                # equal.
                module.eps = 0.1
        model.train(task.training)
        model.to(task.device)
        if channels_last:
            model.to(memory_format=layout)
        if compiled:
            # On CUDA inductor would draw other random numbers for stochastic depth.
            inductor: Any = importlib.import_module('torch._inductor.config')
            inductor.fallback_random = True
            for part in (model.backbone, model.neck) if task.kind == 'detector' else (model,):
                part.compile(mode=mode)
        torch.manual_seed(1)
        return _step(model, names, task, layout)


def _ours(task: Task, fast: bool, options: dict[str, object]) -> Any:
    """Return our model, with random weights that all have an effect."""
    config = task.config | options
    if 'backbone' in task.config:
        config = task.config | dict(backbone=task.config['backbone'] | options)
    model = MODELS.build(ConfigDict(config))
    for module in model.modules():
        if hasattr(module, 'fast'):
            module.fast = module.fast and fast
    randomise_vectors(model)
    for head in box_heads(model) if task.kind == 'detector' else ():
        # With random weights no score exceeds the threshold, and there would be no masks.
        head.fc_cls.weight.data.mul_(30)
    return model


@torch.no_grad()
def randomise_vectors(model: nn.Module) -> None:
    """Change norms, scales and biases from ones and zeros, so that they have an effect."""
    for parameter in model.parameters():
        if parameter.squeeze().ndim <= 1:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _step(
    model: nn.Module, names: Mapping[str, str] | None, task: Task, layout: torch.memory_format
) -> ModelStep:
    """Return a step on random inputs: images, or a head's maps, which get gradients too."""
    drawn = (torch.randn(shape).to(task.device) for shape in _shapes(task))
    inputs = [x.contiguous(memory_format=layout) for x in drawn]
    make = partial(ModelStep, amp=task.dtype)
    if task.kind == 'head':
        inputs = [x.requires_grad_(task.training) for x in inputs]
        leaves = {f'input at stride {stride}': x for stride, x in zip(STRIDES, inputs)}
        return make(model, lambda: {'logits': model(inputs)}, names, leaves)
    (x,) = inputs
    if task.kind == 'backbone':
        return make(model, lambda: {f'map {i}': y for i, y in enumerate(model(x))}, names)
    samples = packed_images(model, task.size, task.batch)['data_samples']
    for sample in samples:
        sample.set_metainfo(dict.fromkeys(('batch_input_shape', 'pad_shape'), task.size))
    samples = [sample.to(task.device) for sample in samples]
    forward = partial(loss if task.training else _predict, model, x, samples)
    if task.kind == 'detector':
        # Boxes are chosen by score: gradients of equal models differ if scores almost tie.
        return make(model, _with_pyramid(model, forward), {})
    return make(model, forward, names)


def _shapes(task: Task) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs: images, or a head's maps."""
    if task.kind != 'head':
        return [(task.batch, 3, *task.size)]
    maps = zip(task.config['in_channels'], STRIDES)
    return [(task.batch, n, *(side // stride for side in task.size)) for n, stride in maps]


def _predict(model: nn.Module, images: Tensor, samples: list) -> dict[str, Tensor]:
    """Return a segmentor's labels; nothing for a detector, whose boxes may differ."""
    found = enumerate(model(images, samples, mode='predict'))
    return {f'labels {i}': x.pred_sem_seg.data for i, x in found if 'pred_sem_seg' in x}


def _with_pyramid(model: Any, forward: Callable[[], dict[str, Tensor]]) -> Callable:
    """Return a forward that also returns the maps of the model's neck."""
    pyramid: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, maps: Sequence[Tensor]) -> None:
        pyramid.update({f'pyramid {i}': y.detach() for i, y in enumerate(maps)})

    model.neck.register_forward_hook(keep)  # once, because each new hook would be compiled
    return lambda: pyramid | forward()


def plain_model(task: Task) -> nn.Module:
    """Return our model, layer by layer, on the meta device."""
    config = dict(model=task.config, default_scope=SCOPES[task.kind])
    return complexity.build_on_meta(Config(config))


def count_macs(task: Task, model: nn.Module) -> int | None:
    """Return a step's nominal MACs, from :func:`plain_model`; None if they depend on RoIs."""
    if task.kind == 'detector' and task.training:
        return None
    if task.kind in ('segmentor', 'detector'):
        passes = complexity.forward_passes(model, *task.size)
    else:
        shapes = _shapes(task._replace(batch=1))
        inputs: list[Any] = [torch.empty(shape, device='meta') for shape in shapes]
        passes = [(model, *([inputs] if task.kind == 'head' else inputs))]
    macs = task.batch * sum(complexity.count_macs(*one) for one in passes)
    return macs * (3 if task.training else 1)  # each of two gradients costs a forward pass
