"""The block of ConvNeXt V1 and V2, layer by layer and in its faster forms."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.checkpoint import checkpoint

from mmconvnext.backbones.compiled_block import compiled_block
from mmconvnext.backbones.deploy import Replaced, fold_layer_scale, fold_norm
from mmconvnext.backbones.forms import form_for
from mmconvnext.backbones.fused_block import BlockSettings, BlockWeights, fused_block
from mmconvnext.backbones.layers import GlobalResponseNorm, LayerNorm, StochasticDepth
from mmconvnext.backbones.lean_block import LeanSettings, lean_block

# The layer types whose computation the fused block reimplements.
FUSED: dict[str, tuple[type[nn.Module], ...]] = {
    'dwconv': (nn.Conv2d,),
    'norm': (LayerNorm,),
    'pwconv1': (nn.Linear,),
    'act': (nn.GELU,),
    'grn': (GlobalResponseNorm, nn.Identity),
    'pwconv2': (nn.Linear,),
    'drop_path': (StochasticDepth,),
}


class ConvNeXtBlock(nn.Module):
    """Depthwise 7×7, LayerNorm, 1×1 to 4C, GELU, (GRN,) 1×1 back to C, (layer scale,) residual.

    Shapes: (N, C, H, W) → (N, C, H, W). The pointwise convolutions are linear layers on an
    (N, H, W, C) view, so the result is channels-last in memory.

    Source: arXiv 2201.03545, figure 4; with GRN: arXiv 2301.00808, figure 5.
    """

    # Defaults for models that were pickled before these options existed.
    compiled = False
    triton_kernels = False

    def __init__(
        self,
        channels: int,
        drop_path: float,
        layer_scale_init_value: float,
        use_grn: bool,
        eps: float,
        with_cp: bool,
        fast: bool,
        compiled: bool = False,
        triton_kernels: bool = True,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.fast = fast
        self.compiled = compiled
        self.triton_kernels = triton_kernels
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm(channels, eps=eps)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.grn = GlobalResponseNorm(4 * channels) if use_grn else nn.Identity()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        scale = torch.full((channels,), float(layer_scale_init_value))
        self.gamma = nn.Parameter(scale) if layer_scale_init_value > 0 else None
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        block = self._in_form(x)
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)

    def _in_form(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        # Hooks run only if their module is called, and a replaced module may compute something
        # else.
        plain = not self.fast or _has_any_global_hook() or not self._is_as_built()
        return getattr(self, f'_{"plain" if plain else form_for(x, self.compiled)}')

    def _plain(self, x: Tensor) -> Tensor:
        return x + self._branch(x)

    def _weights(self) -> BlockWeights:
        # Dictionary access: attribute access on a few hundred modules would keep a GPU waiting.
        modules: dict[str, Any] = self._modules
        layers = [modules[name]._parameters for name in ('dwconv', 'norm', 'pwconv1', 'pwconv2')]
        affine = [layer[name] for layer in layers for name in ('weight', 'bias')]
        grn = modules['grn']._parameters
        return BlockWeights._make([*affine, self.gamma, grn.get('gamma'), grn.get('beta')])

    def _fused(self, x: Tensor) -> Tensor:
        kept, scale = None, 1.0
        if self.drop_path.drops():
            drawn = self.drop_path.draw(x.shape[0])
            scale = 1 / (1 - self.drop_path.p)
            if not drawn.all():
                kept = drawn.nonzero().flatten().to(x.device, non_blocking=True)
        settings = BlockSettings(self.norm.eps, self._grn_eps(), kept, scale)
        return fused_block(x, self._weights(), settings)

    def _lean(self, x: Tensor) -> Tensor:
        factor = self.drop_path.factor(x) if self.drop_path.drops() else None
        settings = LeanSettings(self.norm.eps, self._grn_eps(), factor, self.triton_kernels)
        return lean_block(x, self._weights(), settings)

    def _compiled(self, x: Tensor) -> Tensor:
        factor = self.drop_path.factor(x) if self.drop_path.drops() else None
        return compiled_block(x, self._weights(), self.norm.eps, self._grn_eps(), factor)

    def _grn_eps(self) -> float:
        return self.grn.eps if isinstance(self.grn, GlobalResponseNorm) else 0.0

    def _is_as_built(self) -> bool:
        """Return whether no layer was replaced by another type and no layer has hooks."""
        modules: dict[str, Any] = self._modules
        conv = modules['dwconv']
        kernel = conv.weight.shape[2:]
        return (
            all(has_plain_kind(modules[name], kinds) for name, kinds in FUSED.items())
            and self.act.approximate == 'none'
            and (conv.stride, conv.dilation, conv.padding_mode) == ((1, 1), (1, 1), 'zeros')
            and conv.padding == (kernel[0] // 2,) * 2 == (kernel[1] // 2,) * 2
            and conv.groups == conv.in_channels == conv.out_channels
            and all(layer.bias is not None for layer in (conv, self.pwconv1, self.pwconv2))
            and (self.norm.weight is None) == (self.norm.bias is None)
        )

    def fold(self) -> list[Replaced]:
        """Fold LayerNorm's affine part and layer scale into the adjacent linear layers.

        A block with replaced layers or with hooks is left unchanged.
        """
        if not self._is_as_built():
            return []
        folded = fold_norm(self.norm, self.pwconv1)
        if self.gamma is not None:
            folded += fold_layer_scale(self.pwconv2, self, 'gamma')
        return folded

    def _branch(self, x: Tensor) -> Tensor:
        x = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        x = self.pwconv2(self.grn(self.act(self.pwconv1(x))))
        if self.gamma is not None:
            # Under mixed precision γ stays float32, and the residual path with it.
            x = x * self.gamma
        return self.drop_path(x.permute(0, 3, 1, 2))


def has_plain_kind(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Return whether a module's type is exactly one of ``kinds`` and it has no hooks."""
    return (
        type(module) in kinds
        and 'forward' not in vars(module)
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not module._backward_hooks
        and not module._backward_pre_hooks
    )
