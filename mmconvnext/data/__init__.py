"""Sample data sets, official archives, and checks before a run."""
