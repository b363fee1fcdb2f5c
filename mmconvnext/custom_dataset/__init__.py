"""Make a config for a custom dataset from a config of this project."""
