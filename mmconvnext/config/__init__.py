"""Config files: written so that no name in them is ever run, and read safely."""
