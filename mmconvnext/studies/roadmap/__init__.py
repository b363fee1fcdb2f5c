"""Every network from ResNet to ConvNeXt: what each step costs, and what it reaches."""

from mmconvnext.studies.roadmap.network import RoadmapNet
from mmconvnext.studies.roadmap.steps import REGIMES, ROADMAP

__all__ = ['REGIMES', 'ROADMAP', 'RoadmapNet']
