"""Keeps the sweep's page, and says where it is."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from embedsweep.core.errors import UserError

if TYPE_CHECKING:
    from embedsweep.core.dataset import Dataset
    from embedsweep.core.experiment import Experiment
    from embedsweep.workflows.compare import Leaderboard
    from embedsweep.workflows.services import Services


def publish(
    experiment: Experiment,
    dataset: Dataset,
    services: Services,
    say: Callable[[str], None],
    board: Leaderboard | None = None,
) -> None:
    """Draw the page of the experiment's sweep and keep it with the sweep's own run.

    Whatever goes wrong is said, and takes nothing from the sweep, which is done and kept.
    """
    from embedsweep import wiring

    try:
        place = wiring.publish_page(experiment, dataset, services, board)
    except UserError as error:
        say(str(error))
    except Exception as error:  # noqa: BLE001 - the sweep is done; its page is not worth its end
        say(traceback.format_exc().rstrip())
        say(
            f"error: unexpected {type(error).__name__} in report.html, without which the sweep is "
            f"kept: {error}. Fix: this is a fault of embedsweep; report it with the lines above"
        )
    else:
        say(f"report: {place}")
