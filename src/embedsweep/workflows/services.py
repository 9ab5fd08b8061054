"""What a story needs of the world, passed in by the wiring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna

from embedsweep.core.bill import Bill
from embedsweep.core.errors import UsageError
from embedsweep.core.ports import Backend, Embedder, Ledger, Registry
from embedsweep.core.promotion import Decision
from embedsweep.core.recipe import Base, Recipe, TunedRecipe
from embedsweep.core.trial import Trial


class Progress(Protocol):
    """Shows how far a sweep is."""

    def sweep(self, done: int, total: int, best: float | None, ended: str = "") -> None:
        """Show the number of finished trials and the best objective so far.

        Args:
            done: Number of finished trials, those of earlier calls included.
            total: Number of trials that the sweep is to have.
            best: The best objective so far, or `None` if no trial has one.
            ended: A line about the run that has just finished.
        """
        ...

    def trial(self, label: str, done: int, total: int | None) -> None:
        """Show how many steps the running trial has done, of how many if that is known."""
        ...

    def say(self, line: str) -> None:
        """A line that stays on the screen."""
        ...


class Silent:
    """A `Progress` that shows nothing."""

    def sweep(self, done: int, total: int, best: float | None, ended: str = "") -> None:
        del done, total, best, ended

    def trial(self, label: str, done: int, total: int | None) -> None:
        del label, done, total

    def say(self, line: str) -> None:
        del line


class Card(Protocol):
    """Writes a trial's model card."""

    def __call__(
        self,
        trial: Trial,
        decision: Decision | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> str:
        """The card, with what is given of the decision on the model and of where it comes from."""
        ...


OpenStudy = Callable[
    [str, optuna.samplers.BaseSampler, optuna.pruners.BasePruner], optuna.study.Study
]


@dataclass(frozen=True)
class Services:
    """The ports' implementations of one call.

    Attributes:
        ledger: Where trials are recorded.
        registry: Where models are promoted.
        backends: By recipe kind.
        kind_of: Tells by a model's folder which kind of recipe made it.
        open_live: Opens a model from its folder as a server does, with no cache before it.
        card: Writes a trial's model card, with the decision on it if there is one.
        bill: All that providers have billed so far.
        open_study: Opens the Optuna study of a name, made if absent, maximising.
        work: A folder for models on their way; emptied by whoever fills it.
        progress: Where progress is shown.
        provenance: Where a recipe's model comes from, as far as this program's surroundings tell:
            its own code's and the libraries' versions, the machine, the user's files.
        check_owner: Raises unless this process still is the only one that may run the sweep: a
            `StoreError` if that was in doubt for a while, `Superseded` if another one runs it.
    """

    ledger: Ledger
    registry: Registry
    backends: Mapping[str, Backend]
    kind_of: Callable[[Path], str]
    open_study: OpenStudy
    open_live: Callable[[Path], Embedder]
    card: Card
    bill: Callable[[], Bill]
    work: Path
    progress: Progress
    provenance: Callable[[Recipe], Mapping[str, Any]] = lambda recipe: {}
    check_owner: Callable[[], None] = lambda: None

    def backend(self, recipe: TunedRecipe) -> Backend:
        return self._backend(recipe.kind)

    def backend_of(self, base: Base) -> Backend:
        """The backend that has the untuned model."""
        return self._backend("hosted" if base.provider else "local")

    def open(self, folder: Path) -> Embedder:
        """The model in a folder, whichever backend left it there."""
        return self._backend(self.kind_of(folder)).open(folder)

    def _backend(self, kind: str) -> Backend:
        if kind not in self.backends:
            raise UsageError(
                f"backend {kind!r}",
                "this installation",
                f"it has {', '.join(sorted(self.backends))}",
                "name one of those",
            )
        return self.backends[kind]
