"""What a run logged, read and drawn."""
