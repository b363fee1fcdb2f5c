"""Replacements of mmcv's compiled operators."""
