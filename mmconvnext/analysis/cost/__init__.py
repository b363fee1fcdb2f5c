"""What a model costs: parameters, multiply-accumulates, memory."""
