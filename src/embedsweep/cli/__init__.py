"""The command line: one thin file per verb."""

from embedsweep.cli.main import main

__all__ = ["main"]
