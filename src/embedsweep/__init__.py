"""Sweep, measure, promote and serve embedding models, on evidence."""

__version__ = "0.1.0"
