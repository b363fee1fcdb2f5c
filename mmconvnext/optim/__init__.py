"""Optimizer wrappers and their constructors."""

from mmconvnext.optim.layer_decay import LayerDecayOptimWrapperConstructor
from mmconvnext.optim.watched_step import AmpOptimWrapper, OptimWrapper

__all__ = ['AmpOptimWrapper', 'LayerDecayOptimWrapperConstructor', 'OptimWrapper']
