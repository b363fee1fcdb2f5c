"""Fair timing: several implementations of one task, in turns, on one machine."""
