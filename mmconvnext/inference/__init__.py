"""Apply a trained model to images and videos."""
