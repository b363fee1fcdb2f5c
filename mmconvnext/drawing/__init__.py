"""What draws on images: labels, instances, panels, legends."""
