"""ConvNeXt backbones, and the networks on the way to them from ResNet."""

from mmconvnext.backbones.convnext import ARCHITECTURES, Architecture, ConvNeXt
from mmconvnext.backbones.roadmap import ROADMAP, RoadmapNet

__all__ = ['ARCHITECTURES', 'ROADMAP', 'Architecture', 'ConvNeXt', 'RoadmapNet']
