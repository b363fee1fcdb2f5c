"""The learning rate of every layer over a run."""
