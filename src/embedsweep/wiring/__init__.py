"""The composition root: the only place that names concrete classes.

Heavy libraries are imported inside the functions, when a command needs them.
"""

from embedsweep.config import load_experiment
from embedsweep.wiring.deployment import export, serve
from embedsweep.wiring.evidence import (
    describe_stores,
    job_book,
    open_ledger,
    open_registry,
    show_pages,
)
from embedsweep.wiring.models import opened_model
from embedsweep.wiring.sweeping import coordinator, load, notes, preflight, truncation

__all__ = [
    "coordinator",
    "describe_stores",
    "export",
    "job_book",
    "load",
    "load_experiment",
    "notes",
    "open_ledger",
    "open_registry",
    "opened_model",
    "preflight",
    "serve",
    "show_pages",
    "truncation",
]
