"""A trained model applied to a person's own pictures and videos."""
