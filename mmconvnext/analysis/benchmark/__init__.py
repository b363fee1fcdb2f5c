"""Fair timings: several implementations of one thing, in turns, on one machine."""
