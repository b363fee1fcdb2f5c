"""Every network from ResNet to ConvNeXt as a backbone.

Source: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545v2), section 2.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmconvnext.backbones import arguments
from mmconvnext.backbones.backbone import Backbone
from mmconvnext.backbones.layers import LayerNorm2d
from mmconvnext.errors import ArgumentError
from mmconvnext.registry import MODELS
from mmconvnext.studies.roadmap.block import RoadmapBlock, convolution, normalisation
from mmconvnext.studies.roadmap.steps import Design, find_design

# ConvNeXt's names of the corresponding parts.
_IN_CONVNEXT = {'stem': 'downsample_layers.0', 'downsampling': 'downsample_layers'}


@MODELS.register_module()
class RoadmapNet(Backbone):
    """Any network of the roadmap, from ResNet to ConvNeXt, as a multi-scale backbone.

    ``forward`` maps (N, in_channels, H, W), H and W at least 32, to a tuple of (N, C_i, ≈H / s_i,
    ≈W / s_i) maps, in the order of ``out_indices``, at strides s = 4, 8, 16, 32: convolutions in
    blocks round a size up, patches round it down. The C_i are ``channels``, which depend on the
    step. Before the step ``layer_norm`` the maps are the stages' outputs; from this step on each
    map goes through an output LayerNorm, ``norm0`` to ``norm3``. Maps are contiguous in memory.
    Stages after the last of ``out_indices`` are not built.

    The last step equals :class:`~mmconvnext.ConvNeXt` tiny or base, computed layer by layer and
    with other names. To use that network, use ConvNeXt: it reads published weights and is faster.

    Args:
        step: Name of a step in :data:`~mmconvnext.studies.roadmap.steps.ROADMAP`; the first step
            also has the regime's name.
        regime: ``'resnet50'``, which ends at ConvNeXt-T, or ``'resnet200'``, at ConvNeXt-B.
        in_channels: Channels of the input.
        out_indices: Stages whose maps are returned, 0 to 3, or -4 to -1 from the end.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        layer_scale_init_value: Initial value of the layer scale, which only the last step has;
            0 disables it.
        frozen_stages: -1 freezes nothing, 0 the stem, k also the first k stages with their
            downsampling layers and output norms. ``train()`` keeps them frozen.
        norm_eval: Use the running statistics of BatchNorms in training too, for detectors with few
            images per GPU.
        with_cp: Recompute every block in the backward pass: same gradients, less memory.
        init_cfg: ``dict(type='Pretrained', checkpoint=FILE or URL)``, with ``prefix``, ``ema``
            and ``sha256``, loads a RoadmapNet's weights strictly, usually those of a classifier
            trained with configs/roadmap_resnet50_in1k.py. None draws truncated normal weights,
            σ = .02, at every step, which is our choice.

    Raises:
        ArgumentError: (a ValueError) an argument is not one of the above, or an input is too
            small.
    """

    STEM = 'stem'
    STAGE_PARTS = ('downsampling', 'stages')

    def __init__(
        self,
        step: str = 'separate_downsampling',
        regime: str = 'resnet50',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if layer_scale_init_value is None:
            raise ArgumentError('layer_scale_init_value: expected 0 or more, got None')
        arguments.require_possible(
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            layer_scale_init_value=layer_scale_init_value,
            frozen_stages=frozen_stages,
        )
        self.step, self.regime = step, regime
        self.design = find_design(step, regime)
        self.depths, self.channels = self.design.depths, self.design.channels
        self.in_channels = in_channels
        self.out_indices = arguments.resolve_out_indices(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._build(drop_path_rate, layer_scale_init_value, with_cp)
        self._freeze()

    def _build(self, drop_path_rate: float, layer_scale_init_value: float, with_cp: bool) -> None:
        rates = iter(arguments.drop_path_rates(drop_path_rate, sum(self.depths)))
        self.stem = _stem(self.design, self.in_channels)
        self.downsampling = nn.ModuleList()  # if it is not inside the blocks
        self.stages = nn.ModuleList()
        channels = self.design.width
        for stage in range(max(self.out_indices) + 1):
            separate = self.design.separate_downsampling and stage > 0
            out_channels = self.channels[stage]
            downsampling: nn.Module = nn.Identity()
            if separate:
                conv = nn.Conv2d(channels, out_channels, 2, stride=2)
                downsampling = nn.Sequential(normalisation(self.design, channels), conv)
                channels = out_channels
            self.downsampling.append(downsampling)
            stride = 1 if separate or stage == 0 else 2
            blocks = nn.Sequential()
            for _ in range(self.depths[stage]):
                shape = (channels, out_channels, stride)
                options = (next(rates), layer_scale_init_value, with_cp)
                blocks.append(RoadmapBlock(self.design, *shape, *options))
                channels, stride = out_channels, 1
            self.stages.append(blocks)
        for stage in self.out_indices if self.design.norm == 'layer' else ():
            self.add_module(f'norm{stage}', LayerNorm2d(self.channels[stage], eps=1e-6))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        arguments.require_size(x.shape[-2:], 4 * 2 ** (len(self.stages) - 1))
        x = self.stem(x)
        outputs = {}
        for stage, (downsampling, blocks) in enumerate(zip(self.downsampling, self.stages)):
            x = blocks(downsampling(x))
            if stage in self.out_indices:
                outputs[stage] = self._output_norm(stage)(x).contiguous()
        return tuple(outputs[stage] for stage in self.out_indices)

    def _classifier_norm(self) -> nn.Module:
        # The norm after the pooling is introduced with the last step.
        return super()._classifier_norm() if self.design.separate_downsampling else nn.Identity()

    def train(self, mode: bool = True) -> Self:
        """Like ``nn.Module.train``, but frozen parts stay in eval mode."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _load(self, checkpoint: str, options: Mapping[str, Any]) -> None:
        called = f'RoadmapNet(step={self.step!r}, regime={self.regime!r})'
        super()._load(checkpoint, {**options, 'own': called})

    def _layers(self) -> int:
        # One id for every three blocks: 6 for 9 blocks and 12 for 27, as in the paper.
        return 3 + -(-self.depths[2] // 3)

    def _convnext_name(self, name: str) -> str:
        part, _, rest = name.partition('.')
        return f'{_IN_CONVNEXT.get(part, part)}.{rest}'


def _stem(design: Design, in_channels: int) -> nn.Sequential:
    width = design.width
    if design.stem == 'patchify':
        conv = nn.Conv2d(in_channels, width, 4, stride=4, bias=design.norm == 'layer')
    else:
        conv = convolution(design, in_channels, width, kernel=7, stride=2, normed=True)
    layers: list[nn.Module] = [conv, normalisation(design, width)]
    if 2 in design.activations:
        # Also after a patchify stem, which is our choice: blocks get activated inputs.
        layers.append(design.activation())
    if design.stem != 'patchify':
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)
