"""Model costs, learning rates, training logs and timing: numbers and figures."""
