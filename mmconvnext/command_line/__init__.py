"""Apply command-line options to a config, and prepare a run."""
