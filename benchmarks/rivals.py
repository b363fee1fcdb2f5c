"""The implementations that tools/benchmark.py compares ours with, each made from ours.

A builder takes our model and its config and returns the rival with our weights in it, and our
name of each of its parameters. Nothing of a rival is imported before its builder runs; one that
is not there, or has no such model, is skipped with a message.

Import this before mmconvnext, which would set aside a torchvision whose operators do not load.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _import_torchvision() -> None:
    """Make torchvision's models importable where its operators are of another build of torch."""
    try:
        importlib.import_module('torchvision')
    except ModuleNotFoundError:
        return
    except RuntimeError:  # it asks for the schemas of two operators when it is imported
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        library = torch.library.Library('torchvision', 'FRAGMENT')
        library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        _LIBRARIES.append(library)  # whose definitions live as long as it
        importlib.import_module('torchvision')


_LIBRARIES: list[torch.library.Library] = []
_import_torchvision()

import operators  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.registry import MODELS, DefaultScope  # noqa: E402

from mmconvnext.analysis.benchmark import Step  # noqa: E402
from mmconvnext.backbones import ConvNeXt  # noqa: E402
from mmconvnext.checkpoints.convert import from_official  # noqa: E402
from mmconvnext.checkpoints.formats import (  # noqa: E402
    HF,
    MMPRETRAIN,
    OFFICIAL,
    SIZES,
    TIMM,
    TORCHVISION,
    Format,
    key_map,
)
from mmconvnext.errors import first_line  # noqa: E402
from mmconvnext.ops import cuda, nms, roi_align  # noqa: E402

RIVALS = (
    'timm',
    'torchvision',
    'transformers',
    'mmpretrain',
    'official-like',
    'mmseg',
    'mmdet',
)
Names = Mapping[str, str]
Builder = Callable[[nn.Module, dict], tuple[nn.Module, Names]]


class Candidate(NamedTuple):
    """A rival as shipped or tuned: how it is built, and how it is run."""

    name: str
    rival: str
    build: Builder
    channels_last: bool = False  # the model and its input
    compiled: bool = False


# Backbones ------------------------------------------------------------------------------------


class StageMaps(nn.Module):
    """A rival that gives the maps of its stages, and output norms for one that has none."""

    def __init__(
        self,
        rival: nn.Module,
        maps: Callable[[nn.Module, Tensor], Sequence[Tensor]],
        norms: Sequence[nn.LayerNorm] = (),
    ) -> None:
        super().__init__()
        self.rival, self.maps = rival, maps
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = list(self.maps(self.rival, x))
        for stage, norm in enumerate(self.norms):
            maps[stage] = norm(maps[stage].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return maps


@torch.no_grad()
def _from_ours(
    ours: ConvNeXt,
    rival: nn.Module,
    format: Format,
    maps: Callable[[nn.Module, Tensor], Sequence[Tensor]],
) -> tuple[nn.Module, Names]:
    """Our weights in the rival, and our output norms behind it where it has none."""
    names = {}
    theirs = dict(rival.named_parameters())
    state = ours.state_dict()
    for own, common in key_map(format, ours.depths).items():
        if own in theirs and common in state:
            theirs[own].copy_(state[common].reshape(theirs[own].shape))
            names[f'rival.{own}'] = common
    norms = []
    if 'output_norm' not in format.parts:
        for stage, channels in enumerate(ours.channels):
            norm = nn.LayerNorm(channels, eps=ours.eps)
            norm.weight.copy_(state[f'norm{stage}.weight'])
            norm.bias.copy_(state[f'norm{stage}.bias'])
            norms.append(norm)
            names |= {f'norms.{stage}.{p}': f'norm{stage}.{p}' for p in ('weight', 'bias')}
    return StageMaps(draw_alike(rival), maps, norms), names


class DrawnAlike(nn.Module):
    """Stochastic depth with a rival's arithmetic and our draw.

    mmcv and transformers draw with ``rand``, others with ``bernoulli_`` in the map's
    dtype: seeded alike, they would keep other samples.
    """

    def __init__(self, p: float, divides_the_map: bool) -> None:
        super().__init__()
        self.p, self.divides_the_map = p, divides_the_map

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.empty(len(x), device=x.device).bernoulli_(1 - self.p).to(x.dtype)
        kept = kept.view(-1, *(1 for _ in x.shape[1:]))
        if self.divides_the_map:
            return x.div(1 - self.p) * kept
        return x * kept.div_(1 - self.p)


def draw_alike(model: nn.Module) -> nn.Module:
    """Replace the stochastic depth of timm, torchvision, transformers or mmcv."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            kind = type(child)
            if kind.__name__.endswith(('DropPath', 'StochasticDepth')):
                p = child.p if hasattr(child, 'p') else child.drop_prob
                divides = kind.__module__.startswith(('mmcv', 'transformers'))
                setattr(module, name, DrawnAlike(p, divides))
    return model


def _use_grn(config: dict) -> bool:
    return config.get('use_grn', False)


def build_timm(ours: nn.Module, config: dict, fast_norm: bool = False) -> tuple[nn.Module, Names]:
    from timm.layers import set_fast_norm
    from timm.models.convnext import ConvNeXt as Timm

    size = SIZES.get(('-'.join(map(str, ours.depths)), str(ours.channels[0])))
    set_fast_norm(fast_norm)  # read when a norm is made
    rival = Timm(
        depths=ours.depths,
        dims=ours.channels,
        use_grn=_use_grn(config),
        ls_init_value=None if _use_grn(config) else 1.0,
        conv_mlp=size in TIMM.convolutional,  # as timm ships these sizes
        drop_path_rate=config['drop_path_rate'],
        num_classes=0,
    )
    set_fast_norm(False)

    def maps(rival: nn.Module, x: Tensor) -> list[Tensor]:
        x, found = rival.stem(x), []
        for stage in rival.stages:
            found.append(x := stage(x))
        return found

    return _from_ours(ours, rival, TIMM, maps)


def build_torchvision(ours: nn.Module, config: dict) -> tuple[nn.Module, Names]:
    from torchvision.models.convnext import CNBlockConfig
    from torchvision.models.convnext import ConvNeXt as Torchvision

    following = (*ours.channels[1:], None)
    settings = [CNBlockConfig(*stage) for stage in zip(ours.channels, following, ours.depths)]
    rival = Torchvision(settings, stochastic_depth_prob=config['drop_path_rate'])

    def maps(rival: nn.Module, x: Tensor) -> list[Tensor]:
        found = []
        for layers in rival.features:
            found.append(x := layers(x))
        return found[1::2]

    return _from_ours(ours, rival, TORCHVISION, maps)


def build_transformers(ours: nn.Module, config: dict) -> tuple[nn.Module, Names]:
    import transformers

    family = 'ConvNextV2' if _use_grn(config) else 'ConvNext'
    settings = getattr(transformers, f'{family}Config')(
        depths=list(ours.depths),
        hidden_sizes=list(ours.channels),
        drop_path_rate=config['drop_path_rate'],
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    rival = getattr(transformers, f'{family}Backbone')(settings)
    return _from_ours(ours, rival, HF, lambda rival, x: rival(x).feature_maps)


def build_mmpretrain(ours: nn.Module, config: dict) -> tuple[nn.Module, Names]:
    with _mmpretrain_convnext() as their_class:
        rival = their_class(**_mmpretrain_options(config, ours))
    return _from_ours(ours, rival, MMPRETRAIN, lambda rival, x: rival(x))


@contextmanager
def _mmpretrain_convnext() -> Iterator[type]:
    from tests.oracles.mmpretrain_file import mmpretrain_convnext

    logging.disable(logging.WARNING)  # mmengine finds mmpretrain, and not the whole of it
    try:
        with mmpretrain_convnext() as their_class:
            yield their_class
    finally:
        logging.disable(logging.NOTSET)


def _mmpretrain_options(config: dict, ours: nn.Module) -> dict:
    return dict(
        arch=dict(depths=list(ours.depths), channels=list(ours.channels)),
        out_indices=(0, 1, 2, 3),
        use_grn=_use_grn(config),
        layer_scale_init_value=0.0 if _use_grn(config) else 1.0,
        drop_path_rate=config['drop_path_rate'],
        gap_before_final_norm=False,
    )


# As the papers' code goes about it: maps stay NCHW, each block turns to NHWC and back.


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over dimension 1 of a map, its statistics taken there."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        y = centred / (variance + self.eps).sqrt()
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class ResponseNorm(nn.Module):
    """Algorithm 1 of arXiv 2301.00808, line by line."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(-1, keepdim=True) + 1e-6)
        return self.gamma * (x * share) + self.beta + x


class OfficialLikeBlock(nn.Module):
    """Figure 4 of arXiv 2201.03545; with GRN figure 5 of arXiv 2301.00808."""

    def __init__(self, channels: int, drop_path: float, use_grn: bool) -> None:
        super().__init__()
        self.drop_path = DrawnAlike(drop_path, divides_the_map=False)
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = ResponseNorm(4 * channels) if use_grn else None
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = None if use_grn else nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = F.gelu(self.pwconv1(y))
        if self.grn is not None:
            y = self.grn(y)
        y = self.pwconv2(y)
        if self.gamma is not None:
            y = self.gamma * y
        return x + self.drop_path(y.permute(0, 3, 1, 2))


class OfficialLike(nn.Module):
    """The four stages of them, an output norm behind each."""

    def __init__(
        self, depths: Sequence[int], channels: Sequence[int], drop_path: float, use_grn: bool
    ) -> None:
        super().__init__()
        rates = iter(torch.linspace(0, drop_path, sum(depths)).tolist())
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, (depth, width) in enumerate(zip(depths, channels)):
            before = channels[stage - 1]
            self.downsample_layers.append(
                nn.Sequential(ChannelNorm(before, eps=1e-6), nn.Conv2d(before, width, 2, stride=2))
                if stage
                else nn.Sequential(nn.Conv2d(3, width, 4, stride=4), ChannelNorm(width, eps=1e-6))
            )
            blocks = [OfficialLikeBlock(width, next(rates), use_grn) for _ in range(depth)]
            self.stages.append(nn.Sequential(*blocks))
            self.add_module(f'norm{stage}', ChannelNorm(width, eps=1e-6))

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for stage, (downsample, blocks) in enumerate(zip(self.downsample_layers, self.stages)):
            x = blocks(downsample(x))
            outputs.append(getattr(self, f'norm{stage}')(x))
        return outputs


def build_official_like(ours: nn.Module, config: dict) -> tuple[nn.Module, Names]:
    rival = OfficialLike(ours.depths, ours.channels, config['drop_path_rate'], _use_grn(config))
    return _from_ours(ours, rival, OFFICIAL, lambda rival, x: rival(x))


# Heads and whole models -----------------------------------------------------------------------


def stock(config: object) -> object:
    """The config with mmseg's and mmdet's own types where it names ours."""
    if isinstance(config, dict):
        kind = config.get('type')
        changed = {key: stock(value) for key, value in config.items()}
        if isinstance(kind, str) and kind.startswith('mmconvnext.'):
            changed['type'] = kind.removeprefix('mmconvnext.')
            changed.pop('fast', None)
        return changed
    if isinstance(config, list | tuple):
        return type(config)(stock(value) for value in config)
    return config


def build_stock_head(ours: nn.Module, config: dict) -> tuple[nn.Module, Names]:
    with DefaultScope.overwrite_default_scope('mmseg'):
        rival = MODELS.build(ConfigDict(stock(config)))
    rival.load_state_dict(ours.state_dict())
    return rival, {name: name for name, _ in rival.named_parameters()}


def build_stock_model(ours: nn.Module, config: dict, scope: str) -> tuple[nn.Module, Names]:
    """Mmseg's or mmdet's whole model on mmpretrain's backbone."""
    changed = stock(config)
    with _mmpretrain_convnext() as their_class, DefaultScope.overwrite_default_scope(scope):
        options = _mmpretrain_options(config['backbone'], ours.backbone)
        changed['backbone'] = dict(type=their_class, **options)
        rival = MODELS.build(ConfigDict(changed))
    state = {key: value for key, value in ours.state_dict().items() if 'backbone.' not in key}
    theirs = from_official(ours.backbone.state_dict(), MMPRETRAIN)
    rival.load_state_dict(state | {f'backbone.{key}': value for key, value in theirs.items()})
    official = key_map(MMPRETRAIN, ours.backbone.depths)
    names = {}
    for name, _ in rival.named_parameters():
        inside = name.startswith('backbone.')
        names[name] = f'backbone.{official[name[9:]]}' if inside else name
    draw_alike(rival.backbone)
    return rival, names


# Which there are ------------------------------------------------------------------------------

BACKBONES: Mapping[str, Builder] = {
    'timm': build_timm,
    'torchvision': build_torchvision,
    'transformers': build_transformers,
    'mmpretrain': build_mmpretrain,
    'official-like': build_official_like,
}
BUILDERS: Mapping[str, Mapping[str, Builder]] = {
    'backbone': BACKBONES,
    'head': {'mmseg': build_stock_head},
    'segmentor': {'mmseg': partial(build_stock_model, scope='mmseg')},
    'detector': {'mmdet': partial(build_stock_model, scope='mmdet')},
}
_NEEDED = {
    'timm': ('timm.models.convnext',),
    'torchvision': ('torchvision.models.convnext',),
    'transformers': (
        'transformers.models.convnext.modeling_convnext',
        'transformers.models.convnextv2.modeling_convnextv2',
    ),
    'mmpretrain': ('mmpretrain',),
    'official-like': (),
    'mmseg': ('mmseg.models',),
    'mmdet': ('mmdet.models',),
}


def candidates(
    kind: str, rivals: Sequence[str] | None, *, use_grn: bool = False, compiled: bool = False
) -> tuple[list[Candidate], dict[str, str]]:
    """The rivals of a kind as shipped and tuned, and why others are left out.

    Args:
        kind: A key of :data:`BUILDERS`.
        rivals: Names out of :data:`RIVALS`; None for all that have such a thing.
        use_grn: Whether it is ConvNeXt V2.
        compiled: Whether ``torch.compile`` is among the ways of tuning.
    """
    found, left_out = [], {}
    for rival in BUILDERS[kind] if rivals is None else rivals:
        reason = _reason_against(rival, kind, use_grn)
        if reason:
            left_out[rival] = reason
            continue
        build = BUILDERS[kind][rival]
        tuned, how = build, 'channels_last'
        if build is build_timm:
            tuned, how = partial(build_timm, fast_norm=True), 'channels_last, fast norm'
        found.append(Candidate(rival, rival, build))
        found.append(Candidate(f'{rival}, {how}', rival, tuned, channels_last=True))
        if compiled:
            name = f'{rival}, {how}, compiled'
            found.append(Candidate(name, rival, tuned, channels_last=True, compiled=True))
    return found, left_out


def imported() -> list[str]:
    """The modules of rivals that the search for candidates has imported."""
    return [name for names in _NEEDED.values() for name in names if name in sys.modules]


def _reason_against(rival: str, kind: str, use_grn: bool) -> str | None:
    if rival not in BUILDERS[kind]:
        return f'has no {kind} here'
    if rival == 'torchvision' and use_grn:
        return 'has no ConvNeXt V2'
    whole = ('mmpretrain',) if kind in ('segmentor', 'detector') else ()
    for module in (*_NEEDED[rival], *whole):
        problem = _problem(module)
        if problem:
            return problem if module.startswith(rival) else f'its backbone: {problem}'
    return None


def _problem(module: str) -> str | None:
    try:
        if module == 'mmpretrain':  # imported in parts, which a builder sees to
            return None if importlib.util.find_spec(module) else 'is not on the path'
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return 'is not on the path' if error.name == module.split('.')[0] else first_line(error)
    except Exception as error:  # whatever a broken installation raises
        return first_line(error)
    return None


# Operators ------------------------------------------------------------------------------------


def operator_cases(device: str) -> tuple[dict[str, dict[str, Callable[[], Step]]], dict[str, str]]:
    """Steps by case and by name, ours first, and why others are left out."""
    left_out = {}
    if not operates(device):
        left_out['torchvision'] = f'its operators do not load beside this torch, or not on {device}'
    cases = {}
    for title, prepare, module in (
        ('nms, 2000 boxes', prepare_nms, nms),
        ('RoIAlign 7×7, 512 RoIs, 4 levels, forward and backward', prepare_roi_align, roi_align),
    ):
        cases[title] = {'ours': partial(prepare, module.__name__, device)}
        if not left_out:
            cases[title]['torchvision'] = partial(prepare, cuda.__name__, device)
    return cases, left_out


def operates(device: str) -> bool:
    """Whether torchvision's operators run on the device."""
    try:
        prepare_nms(cuda.__name__, device)(0)
    except (ImportError, AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


def prepare_nms(module: str, device: str) -> Step:
    torch.manual_seed(0)
    with torch.device(device):
        run = operators.nms_case(2000)
    operator = importlib.import_module(module)
    return lambda _: {'kept boxes': run(operator)}


def prepare_roi_align(module: str, device: str) -> Step:
    """The RoIs of a picture on the levels that mmdet assigns them to."""
    torch.manual_seed(0)
    operator = importlib.import_module(module)
    with torch.device(device):
        boxes = operators.random_boxes(512)
        levels = operators.levels_of(boxes)
        rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
        jobs = []
        for level, stride in enumerate(operators.STRIDES):
            shape = operators.HEIGHT // stride, operators.WIDTH // stride
            features, chosen = torch.randn(1, 256, *shape), rois[levels == level]
            jobs.append((features, chosen, torch.randn(len(chosen), 256, 7, 7), 1 / stride))

    def step(_: int) -> dict[str, Tensor]:
        results = {}
        for level, job in enumerate(jobs):
            output, gradient = _align(operator, *job)
            results |= {f'level {level}': output, f'gradient of level {level}': gradient}
        return results

    return step


def _align(
    operator: ModuleType, features: Tensor, rois: Tensor, grads: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    options = dict(aligned_height=7, aligned_width=7, spatial_scale=scale, sampling_ratio=0)
    options |= dict(pool_mode=1, aligned=True)
    output, nothing = torch.zeros_like(grads), features.new_zeros(0)
    operator.roi_align_forward(features, rois, output, nothing, nothing, **options)
    gradient = torch.zeros_like(features)
    operator.roi_align_backward(grads, rois, nothing, nothing, gradient, **options)
    return output, gradient
