"""Read and plot the logs of a run."""
