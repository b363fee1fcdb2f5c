"""Heads with the fast loss, and UPerHead with wide convolutions at low resolutions."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import FCNHead as PlainFCNHead
from mmseg.models.decode_heads import UPerHead as PlainUPerHead
from mmseg.models.utils import resize
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from mmconvnext.registry import MODELS
from mmconvnext.segmentation.pixel_loss import FastPixelLoss
from mmconvnext.segmentation.resized_conv import conv_of_resized


@MODELS.register_module()
class FCNHead(FastPixelLoss, PlainFCNHead):
    """mmseg's FCNHead, with the same arguments and parameters, and :class:`.FastPixelLoss`."""


@MODELS.register_module()
class UPerHead(FastPixelLoss, PlainUPerHead):
    """mmseg's UPerHead, which computes its 3 × 3 convolutions of concatenated maps before resizing.

    It has the same arguments and parameters, and the same logits and gradients up to rounding. The
    concatenated maps are never built, see :mod:`mmconvnext.segmentation.resized_conv`. The loss is
    :class:`~mmconvnext.segmentation.pixel_loss.FastPixelLoss`.

    ``forward`` maps a sequence of (N, C_i, H_i, W_i) maps of any sizes to contiguous logits,
    (N, num_classes, H_0, W_0). ``fast=False`` computes like mmseg, for comparison.
    """

    def psp_forward(self, inputs: Sequence[Tensor]) -> Tensor:
        if not (self.fast and _is_plain_conv3x3(self.bottleneck)):
            return super().psp_forward(inputs)
        pooled = [pool(inputs[-1]) for pool in self.psp_modules]
        return self._conv_of_concatenated(self.bottleneck, [inputs[-1], *pooled])

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        if not (self.fast and _is_plain_conv3x3(self.fpn_bottleneck)):
            return super()._forward_feature(inputs)
        inputs = self._transform_inputs(inputs)
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, inputs)]
        laterals.append(self.psp_forward(inputs))
        for level in range(len(laterals) - 1, 0, -1):
            size = laterals[level - 1].shape[2:]
            above = resize(
                laterals[level], size=size, mode='bilinear', align_corners=self.align_corners
            )
            laterals[level - 1] = laterals[level - 1] + above
        outs = [conv(lateral) for conv, lateral in zip(self.fpn_convs, laterals)]
        return self._conv_of_concatenated(self.fpn_bottleneck, [*outs, laterals[-1]])

    def _conv_of_concatenated(self, module: ConvModule, maps: Sequence[Tensor]) -> Tensor:
        """Apply ``module`` to the maps, resized to the size of the first and concatenated."""
        first, *others = maps
        weights = module.conv.weight.split([x.shape[1] for x in maps], dim=1)
        out = F.conv2d(first, weights[0], module.conv.bias, padding=1)
        for x, weight in zip(others, weights[1:]):
            # Under mixed precision a convolution's output has another dtype.
            out = conv_of_resized(out, x.to(out.dtype), weight.to(out.dtype), self.align_corners)
        if module.with_norm:
            out = module.norm(out)
        return module.activate(out) if module.with_activation else out


def _is_plain_conv3x3(module: ConvModule) -> bool:
    """Return whether a module is a plain convolution, norm and activation, without hooks."""
    conv = module.conv
    return (
        type(conv) is nn.Conv2d
        and not _has_any_global_hook()
        and not any(
            part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
            for part in (module, conv)
        )
        and module.order == ('conv', 'norm', 'act')
        and not module.with_spectral_norm
        and not module.with_explicit_padding
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        and (conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), 1, 'zeros')
    )
