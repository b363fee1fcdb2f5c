"""Check a config's data for errors that would make a training fail or silently go wrong."""

from mmconvnext.preflight.findings import Summary
from mmconvnext.preflight.run import Preflight, preflight
from mmconvnext.preflight.start import require_ready

__all__ = ['Preflight', 'Summary', 'preflight', 'require_ready']
