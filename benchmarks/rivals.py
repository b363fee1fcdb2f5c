"""Build other implementations of ConvNeXt, and of heads and models with it, with our weights.

A builder takes our model and its config, and returns the rival with our weights and our name for
each of its parameters. A rival is imported only when needed; a rival that is not installed, or has
no such model, is skipped with a message.
"""

import copy
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.case import Variant
from benchmarks.task import Builder, Task, prepare
from mmconvnext.architectures import find_size
from mmconvnext.backbones.layers import StochasticDepth
from mmconvnext.checkpoints.formats import HF, MMPRETRAIN, TIMM, TORCHVISION, Format, key_map
from mmconvnext.errors import first_line

Names = Mapping[str, str]
Shape = Sequence[int]  # blocks, or channels, of each stage
# The modules that each rival needs.
NEEDED = {
    'timm': ['timm.models.convnext'],
    'torchvision': ['torchvision.models.convnext'],
    'transformers': [f'transformers.models.{x}.modeling_{x}' for x in ('convnext', 'convnextv2')],
    'mmpretrain': ['benchmarks.mmpretrain_file'],
    'official-like': [],
    'mmseg': ['mmseg.models'],
    'mmdet': ['mmdet.models'],
}


def timm(
    depths: Shape, channels: Shape, use_grn: bool = False, *, fast_norm: bool = False, **options
) -> nn.Module:
    from timm.layers import set_fast_norm
    from timm.models.convnext import ConvNeXt as Timm

    size = find_size(depths, channels[0])
    options = dict(conv_mlp=size in TIMM.convolutional) | options  # timm's setting for the size
    scale = None if use_grn else 1.0
    set_fast_norm(fast_norm)  # read when a norm is made
    rival = Timm(depths=depths, dims=channels, use_grn=use_grn, ls_init_value=scale, **options)
    set_fast_norm(False)
    return rival


def torchvision(
    depths: Shape, channels: Shape, use_grn: bool = False, drop_path_rate: float = 0.0, **options
) -> nn.Module:
    assert not use_grn, 'torchvision has no V2'
    theirs = importlib.import_module('torchvision.models.convnext')
    stages = zip(channels, (*channels[1:], None), depths)
    blocks = [theirs.CNBlockConfig(*stage) for stage in stages]
    return theirs.ConvNeXt(blocks, stochastic_depth_prob=drop_path_rate, **options)


def transformers(
    kind: str, depths: Shape, channels: Shape, use_grn: bool = False, **options
) -> nn.Module:
    """Return the class whose name ends in ``kind``, such as ``Backbone``."""
    theirs = importlib.import_module('transformers')
    family = 'ConvNextV2' if use_grn else 'ConvNext'
    options |= dict(depths=list(depths), hidden_sizes=list(channels))
    return getattr(theirs, family + kind)(getattr(theirs, f'{family}Config')(**options))


def mmpretrain(depths: Shape, channels: Shape, use_grn: bool = False, **options) -> nn.Module:
    theirs = importlib.import_module('benchmarks.mmpretrain_file')
    arch = dict(depths=list(depths), channels=list(channels))
    scale = 0.0 if use_grn else 1.0
    return theirs.ConvNeXt(arch=arch, use_grn=use_grn, layer_scale_init_value=scale, **options)


def _outputs(layers: Iterable[Any], x: Tensor) -> list[Tensor]:
    """Return the output of each layer in a sequence."""
    return list(accumulate(layers, lambda y, layer: layer(y), initial=x))[1:]


_hf_backbone = partial(transformers, 'Backbone')
_HF_OPTIONS = dict(out_features=['stage1', 'stage2', 'stage3', 'stage4'])
_MMPRETRAIN_OPTIONS = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
# For each rival: builder, options, names, and the maps of its stages.
BACKBONES: dict[str, tuple[Callable[..., Any], dict[str, Any], Format, Callable]] = {
    'timm': (timm, dict(num_classes=0), TIMM, lambda m, x: _outputs(m.stages, m.stem(x))),
    'torchvision': (torchvision, {}, TORCHVISION, lambda m, x: _outputs(m.features, x)[1::2]),
    'transformers': (_hf_backbone, _HF_OPTIONS, HF, lambda m, x: m(x).feature_maps),
    'mmpretrain': (mmpretrain, _MMPRETRAIN_OPTIONS, MMPRETRAIN, lambda m, x: m(x)),
}


class StageMaps(nn.Module):
    """A rival that returns its stages' maps, with output norms added if it has none."""

    def __init__(self, rival: nn.Module, maps: Callable, norms: Iterable[nn.Module]) -> None:
        super().__init__()
        self.rival, self.maps = rival, maps
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = list(self.maps(self.rival, x))
        for stage, norm in enumerate(self.norms):
            maps[stage] = _layer_norm(norm, maps[stage].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return maps


def _layer_norm(norm: Any, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)


@torch.no_grad()
def build_backbone(
    ours: Any, config: dict, rival: str, **options: object
) -> tuple[nn.Module, Names]:
    """Build a key of :data:`BACKBONES`, with our output norms if it has none."""
    construct, fixed, format, maps = BACKBONES[rival]
    options |= fixed | dict(drop_path_rate=config.get('drop_path_rate', 0.0))
    model = construct(ours.depths, ours.channels, config.get('use_grn', False), **options)
    theirs, state = dict(model.named_parameters()), ours.state_dict()
    names: dict[str, str] = {}
    for own, common in key_map(format, ours.depths).items():
        if own in theirs and common in state:
            theirs[own].copy_(state[common].reshape(theirs[own].shape))
            names[f'rival.{own}'] = common
    norms = []
    for stage in range(0 if 'output_norm' in format.parts else 4):
        norms.append(copy.deepcopy(getattr(ours, f'norm{stage}')))
        names |= {f'norms.{stage}.{p}': f'norm{stage}.{p}' for p in ('weight', 'bias')}
    return StageMaps(draw_alike(model), maps, norms), names


class DividedMap(StochasticDepth):
    """Stochastic depth as in mmcv and transformers: it divides the map, not the factor."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.drops():
            return x
        kept = self.draw(len(x), x.device).to(x.dtype)
        return x.div(1 - self.p) * kept.view(-1, *(1 for _ in x.shape[1:]))


def draw_alike(model: nn.Module) -> nn.Module:
    """Make a rival's stochastic depth keep the same samples as ours.

    mmcv and transformers draw with ``rand``, other rivals with ``bernoulli_`` in the map's dtype.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            kind = type(child)
            if kind.__name__.endswith(('DropPath', 'StochasticDepth')):
                p: Any = child.p if hasattr(child, 'p') else child.drop_prob
                divides = kind.__module__.startswith(('mmcv', 'transformers'))
                setattr(module, name, DividedMap(p) if divides else StochasticDepth(p))
    return model


def build_official_like(ours: nn.Module, config: dict) -> tuple[nn.Module, Names]:
    """Compute like the papers' code, with our modules' weights.

    Maps are NCHW, and each block permutes to NHWC and back: figure 4 of arXiv 2201.03545; with GRN
    figure 5 and algorithm 1 of arXiv 2301.00808, line by line.
    """
    names = {f'rival.{name}': name for name, _ in ours.named_parameters()}
    return StageMaps(ours, _official_like, ()), names


def _official_like(ours: Any, x: Tensor) -> Iterator[Tensor]:
    for stage, blocks in enumerate(ours.stages):
        for layer in ours.downsample_layers[stage]:
            x = layer(x) if isinstance(layer, nn.Conv2d) else _channel_norm(layer, x)
        for block in blocks:
            x = x + block.drop_path(_branch(block, x))
        yield _channel_norm(getattr(ours, f'norm{stage}'), x)


def _channel_norm(norm: Any, x: Tensor) -> Tensor:
    """Apply LayerNorm over dimension 1 of a map, without permuting it."""
    centred = x - x.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    y = centred / (variance + norm.eps).sqrt()
    return y * norm.weight[:, None, None] + norm.bias[:, None, None]


def _branch(block: Any, x: Tensor) -> Tensor:
    y = _layer_norm(block.norm, block.dwconv(x).permute(0, 2, 3, 1))
    y = F.gelu(block.pwconv1(y))
    if not isinstance(block.grn, nn.Identity):
        energy = torch.norm(y, p=2, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(-1, keepdim=True) + 1e-6)
        y = block.grn.gamma * (y * share) + block.grn.beta + y
    y = block.pwconv2(y)
    return (y if block.gamma is None else block.gamma * y).permute(0, 3, 1, 2)


def stock(config: Any) -> Any:
    """Return the config with our types replaced by mmseg's and mmdet's."""
    if isinstance(config, list | tuple):
        return type(config)(stock(value) for value in config)
    if not isinstance(config, dict):
        return config
    changed = {key: stock(value) for key, value in config.items()}
    if str(config.get('type')).startswith('mmconvnext.'):
        changed['type'] = config['type'].removeprefix('mmconvnext.')
        changed.pop('fast', None)
    return changed


def build_stock(ours: Any, config: dict, scope: str) -> tuple[nn.Module, Names]:
    """Build mmseg's head, or mmseg's or mmdet's whole model with mmpretrain's backbone."""
    behind = {key: config[key] for key in ('backbone',) if key in config}
    with DefaultScope.overwrite_default_scope(scope):
        rival = MODELS.build(ConfigDict(stock(config) | behind))
    rival.load_state_dict(ours.state_dict())
    inside: Names = {}
    if behind:
        rival.backbone, inside = build_backbone(ours.backbone, config['backbone'], 'mmpretrain')
    names = {name: name for name, _ in rival.named_parameters()}
    return rival, names | {f'backbone.{k}': f'backbone.{v}' for k, v in inside.items()}


BUILDERS: Mapping[str, Mapping[str, Builder]] = {
    'backbone': {
        **{name: partial(build_backbone, rival=name) for name in BACKBONES},
        'official-like': build_official_like,
    },
    'head': {'mmseg': partial(build_stock, scope='mmseg')},
    'segmentor': {'mmseg': partial(build_stock, scope='mmseg')},
    'detector': {'mmdet': partial(build_stock, scope='mmdet')},
}


def available(
    kind: str, rivals: Sequence[str] | None = None, use_grn: bool = False
) -> tuple[dict[str, Builder], dict[str, str]]:
    """Return builders of a kind's rivals (all or those named), and why others are skipped."""
    wanted = list(BUILDERS[kind]) if rivals is None else rivals
    reasons = {name: _reason_against(name, kind, use_grn) for name in wanted}
    found = {name: BUILDERS[kind][name] for name, reason in reasons.items() if not reason}
    return found, {name: reason for name, reason in reasons.items() if reason}


def variants(
    task: Task, rivals: Sequence[str] | None = None, compiled: bool = False
) -> tuple[list[Variant], dict[str, str]]:
    """Return a task's rivals as shipped, tuned and ``compiled``, and why others are skipped."""
    found = []
    builders, left_out = available(task.kind, rivals, task.config.get('use_grn', False))
    for rival, build in builders.items():
        found.append(Variant(rival, partial(prepare, task, build), rival))
        name = f'{rival}, channels_last'
        if rival == 'timm':
            name, build = f'{name}, fast norm', partial(build_backbone, rival=rival, fast_norm=True)
        tuned = partial(prepare, task, build, channels_last=True)
        found.append(Variant(name, tuned, rival, True))
        modes = {'compiled': None, 'compiled, CUDA graphs': 'reduce-overhead'}
        for title, mode in modes.items() if compiled else ():
            if mode is None or task.device != 'cpu':
                step = partial(tuned, compiled=True, mode=mode)
                found.append(Variant(f'{name}, {title}', step, rival, True))
    return found, left_out


def _reason_against(rival: str, kind: str, use_grn: bool) -> str | None:
    if rival not in BUILDERS[kind]:
        return f'has no {kind} here'
    if rival == 'torchvision' and use_grn:
        return 'has no ConvNeXt V2'
    for name in (rival, 'mmpretrain') if kind in ('segmentor', 'detector') else (rival,):
        try:
            for module in NEEDED[name]:
                importlib.import_module(module)
        except Exception as error:  # a broken installation may raise anything
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            reason = 'is not on the path' if missing else first_line(error)
            return reason if name == rival else f'its backbone: {reason}'
    return None
