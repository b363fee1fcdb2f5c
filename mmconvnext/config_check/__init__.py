"""Mistakes in a config, found before anything is built: keys, types and values."""

from mmconvnext.config_check.check import ConfigError, find_mistakes, require_correct
from mmconvnext.config_check.names import did_you_mean

__all__ = ['ConfigError', 'did_you_mean', 'find_mistakes', 'require_correct']
