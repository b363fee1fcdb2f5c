"""ConvNeXt backbones."""

from mmconvnext.architectures import ARCHITECTURES, Architecture
from mmconvnext.backbones.convnext import ConvNeXt

__all__ = ['ARCHITECTURES', 'Architecture', 'ConvNeXt']
