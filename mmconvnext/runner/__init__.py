"""What runs a training or a test, and its loops."""
