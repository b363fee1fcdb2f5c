"""Generated sample datasets, official archives, and data checks before a run."""
