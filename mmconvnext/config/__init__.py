"""Config files: written so that no string in them is interpreted, and read safely."""
