"""What people read of a sweep and of a model: pages and cards, from values alone."""
