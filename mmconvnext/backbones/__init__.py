"""ConvNeXt backbones."""

from mmconvnext.backbones.convnext import ARCHITECTURES, Architecture, ConvNeXt

__all__ = ['ARCHITECTURES', 'Architecture', 'ConvNeXt']
