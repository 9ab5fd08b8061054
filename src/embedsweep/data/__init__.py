"""Files to a checked data set: readers, checks, splits, leakage, and the built-in data set."""
