"""The sweep's page, gathered and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedsweep.core.dataset import Dataset
from embedsweep.core.experiment import Experiment

if TYPE_CHECKING:
    from embedsweep.core.ports import Ledger, Registry
    from embedsweep.workflows.compare import Leaderboard
    from embedsweep.workflows.services import Services


def drawn_page(
    experiment: Experiment,
    dataset: Dataset,
    ledger: Ledger,
    registry: Registry,
    board: Leaderboard | None = None,
) -> str:
    """The page of an experiment's newest sweep, as HTML; arguments as of `findings`."""
    from embedsweep.reporting.page import sweep_page
    from embedsweep.workflows.report import findings

    return sweep_page(findings(experiment, dataset, ledger, registry, board))


def publish_page(
    experiment: Experiment, dataset: Dataset, services: Services, board: Leaderboard | None = None
) -> str:
    """Keep the page with the sweep's own run, in place of the one before; returns its place."""
    from embedsweep.workflows.compare import known_sweep
    from embedsweep.workflows.report import PAGE

    page = drawn_page(experiment, dataset, services.ledger, services.registry, board)
    return services.ledger.attach(known_sweep(services.ledger, experiment.name), PAGE, page)
