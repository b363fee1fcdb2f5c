"""Checkpoints: downloaded once, opened safely, loaded completely or not at all."""
