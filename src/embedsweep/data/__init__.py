"""Files to a checked data set: readers, checks, splits, leakage, and the built-in data set."""

from embedsweep.data.load import load_dataset
from embedsweep.data.python_docs import PYTHON_DOCS
from embedsweep.data.text import normalise

__all__ = ["PYTHON_DOCS", "load_dataset", "normalise"]
