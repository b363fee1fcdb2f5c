"""A trained model applied to a person's own images and videos."""
