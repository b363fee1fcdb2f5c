"""Model costs: parameters, multiply-accumulates, memory."""
