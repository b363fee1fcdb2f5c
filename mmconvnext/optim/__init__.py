"""Optimizer construction, and the wrappers that step."""

from mmconvnext.optim.layer_decay import LayerDecayOptimWrapperConstructor
from mmconvnext.optim.watched_step import AmpOptimWrapper, OptimWrapper

__all__ = ['AmpOptimWrapper', 'LayerDecayOptimWrapperConstructor', 'OptimWrapper']
