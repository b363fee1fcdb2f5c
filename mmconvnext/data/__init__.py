"""Sample data sets, and checks before a run."""
