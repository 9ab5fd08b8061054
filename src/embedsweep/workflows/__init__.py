"""The stories, written against the ports: preflight, sweep, compare, promote, roll back."""
