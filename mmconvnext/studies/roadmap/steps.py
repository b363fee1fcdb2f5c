"""The steps from ResNet to ConvNeXt, and the design of each network on the way.

Source: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545v2), section 2, figure 2 and tables 10
and 11. Where the paper is not specific, and multiply-accumulates do not decide, the code has a
comment "our choice".
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mmconvnext.backbones.arguments import STAGES
from mmconvnext.errors import ArgumentError

REGIMES = ('resnet50', 'resnet200')  # to ConvNeXt-T, to ConvNeXt-B


@dataclass(frozen=True)
class Design:
    """The design of a network; the defaults are ResNet's.

    Convolutions of a block are counted from 0. An activation at position 2 comes after the sum with
    the shortcut; then there is also one after the stem.
    """

    depths: tuple[int, int, int, int]
    width: int  # of the stem; the stages' widths are multiples of it
    stem: str = 'convolution_and_pool'  # or 'patchify'
    block: str = 'bottleneck'  # or 'inverted' or 'depthwise_first'
    depthwise: bool = False
    kernel: int = 3
    activation: type[nn.Module] = nn.ReLU
    activations: tuple[int, ...] = (0, 1, 2)
    norms: tuple[int, ...] = (0, 1, 2)
    norm: str = 'batch'  # or 'layer'
    separate_downsampling: bool = False
    layer_scale: bool = False

    @property
    def channels(self) -> tuple[int, ...]:
        """Return the channels of the four stages."""
        expansion = 4 if self.block == 'bottleneck' else 1
        return tuple(expansion * self.width * 2**stage for stage in range(STAGES))


@dataclass(frozen=True)
class Step:
    """One step of the roadmap, and its network in each regime."""

    name: str
    title: str
    chapter: str
    change: str
    resnet50: Design
    resnet200: Design
    kept: bool = True  # False: tried in the paper, but not kept

    @property
    def designs(self) -> dict[str, Design]:
        """Return the network's design by regime."""
        return {regime: getattr(self, regime) for regime in REGIMES}


_RESNET = Step(
    *('resnet50', 'ResNet', 'Starting point'),
    'ResNet-50, or ResNet-200, trained by a modern recipe.',
    resnet50=Design((3, 4, 6, 3), 64),
    resnet200=Design((3, 24, 36, 3), 64),
)
_STEPS = [_RESNET]


def _then(
    name: str, title: str, change: str, chapter: str = '', kept: bool = True, **fields: Any
) -> None:
    """Add a step that changes these fields of the last kept network.

    A dict gives a value for each regime; without a chapter the step belongs to the last chapter.
    """
    before = next(step for step in reversed(_STEPS) if step.kept)
    designs = {
        regime: replace(
            design,
            **{key: one[regime] if isinstance(one, dict) else one for key, one in fields.items()},
        )
        for regime, design in before.designs.items()
    }
    _STEPS.append(Step(name, title, chapter or before.chapter, change, **designs, kept=kept))


_then(
    *('stage_ratio', 'stage ratio'),
    'Most blocks go to the third stage, 1 : 1 : 3 : 1, or 1 : 1 : 9 : 1 in the larger network.',
    'Macro design',
    depths={'resnet50': (3, 3, 9, 3), 'resnet200': (3, 3, 27, 3)},
    width={'resnet50': 64, 'resnet200': 84},  # keeps the compute of the shallower network
)
_then(
    *('patchify_stem', 'patchify stem'),
    'A 4 × 4 convolution with stride 4 takes the place of the 7 × 7 one and the pooling.',
    stem='patchify',
)
_then(
    *('depthwise', 'depthwise conv'),
    'The 3 × 3 convolution has as many groups as channels.',
    'ResNeXt-ify',
    depthwise=True,
)
_then(
    *('width', 'width ↑'),
    'The compute saved, and more, goes into width: 64 → 96 channels, or 84 → 128.',
    width={'resnet50': 96, 'resnet200': 128},
)
_then(
    *('inverted_bottleneck', 'inverted bottleneck'),
    'The middle of a block is four times as wide as its ends, not a quarter.',
    'Inverted bottleneck',
    block='inverted',
)
_then(
    *('depthwise_up', 'move up depthwise conv'),
    'The depthwise convolution comes first in a block, where there are fewer channels.',
    'Large kernel sizes',
    block='depthwise_first',
)
_then('kernel_5', 'kernel size 5', 'Depthwise 3 × 3 → 5 × 5.', kernel=5)
_then('kernel_7', 'kernel size 7', 'Depthwise 5 × 5 → 7 × 7.', kernel=7)
_then('kernel_9', 'kernel size 9', '9 × 9, which gains nothing.', kernel=9, kept=False)
_then('kernel_11', 'kernel size 11', '11 × 11, nor this.', kernel=11, kept=False)
_then('gelu', 'ReLU → GELU', 'Every ReLU is a GELU.', 'Micro design', activation=nn.GELU)
_then(
    *('fewer_activations', 'fewer activations'),
    'One activation a block, between its two 1 × 1 convolutions.',
    activations=(1,),
)
_then(
    *('fewer_norms', 'fewer norms'),
    'One norm a block, after its depthwise convolution.',
    norms=(0,),
)
_then(
    *('layer_norm', 'BN → LN'),
    'LayerNorm over the channels takes the place of BatchNorm.',
    norm='layer',
)
_then(
    *('separate_downsampling', 'separate downsampling'),
    'Between stages, LayerNorm and a 2 × 2 convolution with stride 2; this is ConvNeXt.',
    separate_downsampling=True,
    layer_scale=True,  # in ConvNeXt's recipe, table 5; adding it in this step is our choice
)
ROADMAP = tuple(_STEPS)  #: The steps in order, from a ResNet to ConvNeXt.


def find_design(step: str, regime: str) -> Design:
    """Return the design of a step (the first also by the regime's name), or raise ArgumentError."""
    if regime not in REGIMES:
        raise ArgumentError(f'regime: expected {" or ".join(REGIMES)}, got {regime!r}')
    names = [one.name for one in ROADMAP]
    name = names[0] if step == regime else step
    if name not in names:
        raise ArgumentError(f'step: expected one of {", ".join(names)}, got {step!r}')
    return ROADMAP[names.index(name)].designs[regime]
