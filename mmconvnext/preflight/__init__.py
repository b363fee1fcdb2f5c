"""What would make a training fail, or silently go wrong, in the data of a config."""

from mmconvnext.preflight.findings import Summary
from mmconvnext.preflight.run import Preflight, preflight

__all__ = ['Preflight', 'Summary', 'preflight']
