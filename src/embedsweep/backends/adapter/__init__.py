"""Small heads trained on the vectors of frozen models."""
