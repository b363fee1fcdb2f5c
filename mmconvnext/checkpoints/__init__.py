"""Reading checkpoints: fetched once, opened safely, loaded completely or not at all."""
