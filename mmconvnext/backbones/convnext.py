"""ConvNeXt V1 and V2 as a multi-scale backbone.

Sources: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545); Woo et al., ConvNeXt V2
(arXiv 2301.00808). Parameters carry the names of the official repositories
(facebookresearch/ConvNeXt @048efce, facebookresearch/ConvNeXt-V2).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from mmconvnext.architectures import ARCHITECTURES, Architecture
from mmconvnext.backbones import arguments
from mmconvnext.backbones.arguments import STAGES
from mmconvnext.backbones.backbone import Backbone
from mmconvnext.backbones.block import ConvNeXtBlock, has_plain_kind
from mmconvnext.backbones.cuda_graph import CUDAGraphs
from mmconvnext.backbones.deploy import Replaced, fold_norm, restore
from mmconvnext.backbones.forms import output_map
from mmconvnext.backbones.layers import LayerNorm2d
from mmconvnext.checkpoints.pretrained import find_pretrained
from mmconvnext.errors import ArgumentError
from mmconvnext.layer_ids import suited_layers
from mmconvnext.registry import MODELS


@MODELS.register_module()
class ConvNeXt(Backbone):
    """ConvNeXt V1 and V2, which returns one normalised feature map for each requested stage.

    ``forward`` maps (N, in_channels, H, W), with H and W of 32 or more, to a tuple of
    (N, C_i, ⌊H / s_i⌋, ⌊W / s_i⌋) maps in the order of ``out_indices``, at strides s = 4, 8, 16,
    32 (each stride-2 step rounds down separately).
    Each map has its own output LayerNorm, ``norm0`` to ``norm3``. Stages after the last of
    ``out_indices`` are not built, so every parameter is used. Maps are contiguous in memory on a
    CPU, and if mmcv's compiled operators are installed, which misread other layouts
    (open-mmlab/mmcv #2203); otherwise they are channels-last.

    Args:
        arch: A key of :data:`~mmconvnext.architectures.ARCHITECTURES`, or ``dict(depths=…,
            channels=…)``, four of each.
        in_channels: Channels of the input.
        out_indices: Stages whose maps are returned, 0 to 3, or -4 to -1 from the end.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        layer_scale_init_value: Initial value of the layer scale; 0 disables it. None means 1e-6
            without GRN and 0 with GRN.
        use_grn: Use Global Response Normalization in every block (ConvNeXt V2).
        frozen_stages: -1 freezes nothing, 0 the stem, k also the first k stages with their
            downsampling layers and output norms. ``train()`` keeps them frozen.
        with_cp: Recompute every block in the backward pass: same gradients, less memory.
        fast: Compute each block in the form for the device, chosen by
            :mod:`mmconvnext.backbones.forms`: the same numbers up to rounding, in fewer passes over
            memory. False computes layer by layer, for comparison.
        compile_blocks: Compile the blocks with ``torch.compile``, once for each stage; needs
            ``fast``.
        triton_kernels: Use the Triton kernels of :mod:`mmconvnext.backbones.triton_kernels` for
            blocks and norms in 16 bits on CUDA (sm_80 or later), if Triton and a C compiler are
            installed and ``fast`` is True; no effect otherwise.
        cuda_graph: On CUDA, record the forward and the backward pass as CUDA graphs and replay
            them: the same results in far fewer calls, for hosts that launch kernels slowly. An
            input size is recorded when it comes for the fourth time, and at most four are. A
            recording keeps its memory. A backward pass must come before the next forward pass of
            the same size. Not together with ``with_cp`` or ``compile_blocks``.
        init_cfg: ``dict(type='Pretrained', checkpoint=FILE or URL)`` loads strictly in
            :meth:`init_weights`, with ``prefix``, ``ema``, ``sha256``, ``norm3``, ``stem`` as in
            :func:`~mmconvnext.checkpoints.load.load`; None draws truncated normal
            weights, σ = .02.
        gap_before_final_norm: Accepted because mmdet's and mmseg's configs set it; must be False,
            because a backbone for dense prediction has no pooled output.
        linear_pw_conv: Accepted because mmpretrain's configs set it; must be True.

    Raises:
        ArgumentError: (a ValueError) an argument is not one of the above, or an input is too
            small for the last stage.
    """

    LOADING_OPTIONS = (*Backbone.LOADING_OPTIONS, 'norm3', 'stem')
    STEM = 'downsample_layers.0'
    STAGE_PARTS = ('downsample_layers', 'stages')
    # For models that were pickled before the option existed.
    _graphs: CUDAGraphs | None = None

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = 'tiny',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        use_grn: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        fast: bool = True,
        compile_blocks: bool = False,
        triton_kernels: bool = True,
        cuda_graph: bool = False,
        init_cfg: dict | list[dict] | None = None,
        gap_before_final_norm: bool = False,
        linear_pw_conv: bool = True,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not linear_pw_conv:
            raise ArgumentError(
                'linear_pw_conv: expected True, got False, which computes linear layers as 1×1 '
                'convolutions: the same numbers; leave the argument out'
            )
        if gap_before_final_norm:
            raise ArgumentError(
                'gap_before_final_norm: expected False, got True: a backbone for dense '
                'prediction returns maps; leave the argument out'
            )
        if cuda_graph and (with_cp or compile_blocks):
            raise ArgumentError(
                'cuda_graph: expected False with with_cp or compile_blocks, got True; leave out '
                'cuda_graph, or the others'
            )
        arguments.require_possible(
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            layer_scale_init_value=layer_scale_init_value,
            frozen_stages=frozen_stages,
        )
        self.in_channels = in_channels
        self.arch = _resolve_architecture(arch)
        self.depths, self.channels, self.eps = self.arch
        self.out_indices = arguments.resolve_out_indices(out_indices)
        self.fast = fast
        self.triton_kernels = triton_kernels
        self._graphs = CUDAGraphs() if cuda_graph else None
        self.frozen_stages = frozen_stages
        if layer_scale_init_value is None:
            layer_scale_init_value = 0.0 if use_grn else 1e-6
        self._block_options: dict[str, Any] = {
            'layer_scale_init_value': layer_scale_init_value,
            'use_grn': use_grn,
            'eps': self.eps,
            'with_cp': with_cp,
            'fast': fast,
            'compiled': compile_blocks,
            'triton_kernels': triton_kernels,
        }
        self._before_deploy: list[Replaced] = []
        self._build(in_channels, drop_path_rate)
        self._freeze()

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> Self:
        """Return a backbone with published weights, in eval mode.

        The file is downloaded once, into torch hub's folder. Weights load strictly; the output
        norms of the first three stages are new, since no published backbone has them.

        Args:
            name: One of :func:`mmconvnext.list_models`, such as ``'convnext_t_in22k'``.
            options: Arguments of the constructor, such as ``out_indices`` and ``drop_path_rate``,
                and ``norm3`` and ``stem`` of :func:`~mmconvnext.checkpoints.load.load`.

        Raises:
            ArgumentError: (a ValueError) the name is unknown, or an option is wrong.
            CheckpointError: the file cannot be downloaded; the message says where to put it.
        """
        weights = find_pretrained(name)
        init_cfg: dict[str, Any] = dict(type='Pretrained', checkpoint=weights.checkpoint)
        for key in {'norm3', 'stem'} & options.keys():
            init_cfg[key] = options.pop(key)
        model = cls(weights.arch, use_grn=weights.use_grn, init_cfg=init_cfg, **options)
        model.init_weights()
        return model.eval()

    def _build(self, in_channels: int, drop_path_rate: float) -> None:
        rates = arguments.drop_path_rates(drop_path_rate, sum(self.depths))
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        for stage in range(max(self.out_indices) + 1):
            first = sum(self.depths[:stage])
            self.downsample_layers.append(self._downsampling(stage, in_channels))
            blocks = [
                ConvNeXtBlock(self.channels[stage], rate, **self._block_options)
                for rate in rates[first : first + self.depths[stage]]
            ]
            self.stages.append(nn.Sequential(*blocks))
        for stage in sorted(set(self.out_indices)):
            self.add_module(f'norm{stage}', self._norm(self.channels[stage]))

    def _downsampling(self, stage: int, in_channels: int) -> nn.Sequential:
        channels = self.channels[stage]
        if stage == 0:
            stem = nn.Conv2d(in_channels, channels, 4, stride=4)
            return nn.Sequential(stem, self._norm(channels))
        before = self.channels[stage - 1]
        return nn.Sequential(self._norm(before), nn.Conv2d(before, channels, 2, stride=2))

    def _norm(self, channels: int) -> LayerNorm2d:
        return LayerNorm2d(channels, self.eps, self.fast, self.triton_kernels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        arguments.require_size(x.shape[-2:], 4 * 2 ** (len(self.stages) - 1))
        return self._graphs(self, self._maps, x) if self._graphs else self._maps(x)

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.fast:
            # All layers take and return channels-last maps.
            x = x.contiguous(memory_format=torch.channels_last)
        outputs = {}
        for stage, (downsample, blocks) in enumerate(zip(self.downsample_layers, self.stages)):
            x = blocks(downsample(x))
            if stage in self.out_indices:
                outputs[stage] = output_map(self._output_norm(stage)(x))
        return tuple(outputs[stage] for stage in self.out_indices)

    def switch_to_deploy(self) -> None:
        """Fold constant factors into the weights; outputs stay the same up to rounding.

        The affine part of each LayerNorm before a linear layer or a downsampling convolution is
        folded into that layer, and every layer scale into the layer before it. The model is then in
        eval mode, for inference only, and its state dict lacks the folded parameters: load
        checkpoints first. :meth:`switch_back` restores the original parameters, which stay in
        memory. Replaced layers and layers with hooks are not changed.
        """
        if self.is_deployed():
            return
        self.eval()
        built: Any = zip(self.downsample_layers, self.stages)
        for (norm, conv), blocks in built:
            if has_plain_kind(norm, (LayerNorm2d,)) and has_plain_kind(conv, (nn.Conv2d,)):
                self._before_deploy += fold_norm(norm, conv)
            for block in blocks:
                self._before_deploy += block.fold()

    def switch_back(self) -> None:
        """Undo :meth:`switch_to_deploy`; the model stays in eval mode."""
        restore(self._before_deploy)
        self._before_deploy = []

    def is_deployed(self) -> bool:
        """Whether the model is in its deploy form."""
        return bool(self._before_deploy)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Called by all methods that move or convert a model, such as `to` and `half`.
        for replaced in self._before_deploy:
            replaced.original.data = fn(replaced.original.data)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: object) -> None:
        self._require_training_form('load_state_dict')
        super()._load_from_state_dict(*args)

    def _require_training_form(self, action: str) -> None:
        if self.is_deployed():
            raise ArgumentError(
                f'ConvNeXt.{action}: expected a model in its training form, got its deploy form; '
                'call switch_back() first'
            )

    def train(self, mode: bool = True) -> Self:
        """Like ``nn.Module.train``, but frozen parts stay in eval mode.

        Raises:
            ArgumentError: (a ValueError) the model is in its deploy form.
        """
        if mode:
            self._require_training_form('train')
        return super().train(mode)

    def _layers(self) -> int:
        return suited_layers(self.depths)


def _resolve_architecture(arch: str | Mapping[str, Sequence[int]]) -> Architecture:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ArgumentError(
                f'arch: expected one of {", ".join(ARCHITECTURES)}, got {arch!r}; for another '
                'size give dict(depths=…, channels=…)'
            )
        return ARCHITECTURES[arch]
    if not isinstance(arch, Mapping) or set(arch) != {'depths', 'channels'}:
        raise ArgumentError(f'arch: expected a name or dict(depths=…, channels=…), got {arch!r}')
    for key, values in arch.items():
        if len(arguments.integers(values)) != STAGES or any(value < 1 for value in values):
            raise ArgumentError(
                f'arch: expected four positive integers in {key!r}, one a stage, got {values!r}'
            )
    return Architecture(tuple(arch['depths']), tuple(arch['channels']))
