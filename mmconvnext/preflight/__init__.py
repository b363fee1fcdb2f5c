"""Check a config's data for errors that would make a training fail or silently go wrong."""

from mmconvnext.preflight.findings import Summary
from mmconvnext.preflight.run import Preflight, preflight

__all__ = ['Preflight', 'Summary', 'preflight']
