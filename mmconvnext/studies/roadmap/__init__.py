"""Every network from ResNet to ConvNeXt, with each step's costs and accuracy."""

from mmconvnext.studies.roadmap.network import RoadmapNet
from mmconvnext.studies.roadmap.steps import REGIMES, ROADMAP

__all__ = ['REGIMES', 'ROADMAP', 'RoadmapNet']
