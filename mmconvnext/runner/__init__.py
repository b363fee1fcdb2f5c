"""The runner of training and testing, and its loops."""
