"""Draw labels, instances, panels and legends on images."""
