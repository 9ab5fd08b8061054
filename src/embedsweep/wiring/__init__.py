"""The composition root: the only place that names concrete classes.

Heavy libraries are imported inside the functions, when a command needs them.
"""

from embedsweep.config import load_experiment
from embedsweep.wiring.deployment import export, serve
from embedsweep.wiring.evidence import (
    job_book,
    open_ledger,
    open_registry,
    open_upkeep,
    relocate,
    show_pages,
)
from embedsweep.wiring.models import model_at, opened_model
from embedsweep.wiring.reporting import drawn_page, publish_page
from embedsweep.wiring.soundness import examine
from embedsweep.wiring.sweeping import coordinator, examine_bases, load, notes, preflight

__all__ = [
    "coordinator",
    "drawn_page",
    "examine",
    "examine_bases",
    "export",
    "job_book",
    "load",
    "load_experiment",
    "model_at",
    "notes",
    "open_ledger",
    "open_registry",
    "open_upkeep",
    "opened_model",
    "preflight",
    "publish_page",
    "relocate",
    "serve",
    "show_pages",
]
