"""Recipe to model."""
