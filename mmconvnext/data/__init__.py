"""Sample datasets, official archives, and checks before a run."""
