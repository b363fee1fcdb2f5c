"""What a command line changes in a config, and what it needs before a run."""
