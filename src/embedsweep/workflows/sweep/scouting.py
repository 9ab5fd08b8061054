"""Scouting: recipes of local arms tried as heads on their frozen models, before the first trial."""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterator

from embedsweep.core.dataset import Dataset
from embedsweep.core.design import initial_design
from embedsweep.core.ports import EpochEnd, OpenSweep, TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, kept_among
from embedsweep.core.recipe_text import recipe_in_words
from embedsweep.core.report import Measure
from embedsweep.core.scouts import Scout, best_scouts, scout_of
from embedsweep.core.space import SearchSpace
from embedsweep.core.trial import TrialFailure
from embedsweep.evaluation import Evaluator
from embedsweep.workflows.services import Services

SCOUTS_FILE = "scouts.json"
LABEL = "scout"


class Scouting:
    """Trains scouts and measures each by its best epoch, as trials are.

    Args:
        services: The ports; vectors of frozen models should go through a cache.
        dataset: What to train on.
        evaluator: What to measure on.
        objective: What scouts are compared by.
    """

    def __init__(
        self, services: Services, dataset: Dataset, evaluator: Evaluator, objective: Measure
    ) -> None:
        self._services = services
        self._dataset = dataset
        self._evaluator = evaluator
        self._objective = objective

    def best(
        self,
        sweep: OpenSweep,
        space: SearchSpace,
        count: int,
        failed: Container[Base] = (),
    ) -> dict[str, list[Scout]]:
        """By local arm its best scouts, the best first; all of them are kept with the sweep's run.

        Args:
            sweep: The sweep.
            space: Its search space.
            count: Scouts of each local arm; fewer where it has fewer recipes.
            failed: Base models of which no recipe is tried.
        """
        began = time.perf_counter()
        scouts = list(self._scouts(space, count, failed))
        found = [scout.as_dict() for scout in scouts]
        self._services.ledger.attach(sweep, SCOUTS_FILE, json.dumps(found, indent=2) + "\n")
        best = best_scouts(scouts)
        took = time.perf_counter() - began
        self._services.progress.say(f"{len(scouts)} scouts in {took:.0f} s")
        for arm, own in best.items():
            first = recipe_in_words(own[0].recipe)
            self._services.progress.say(f"{arm} begins with {first}")
        return best

    def _scouts(self, space: SearchSpace, count: int, failed: Container[Base]) -> Iterator[Scout]:
        arms = sum(arm.backend == LocalRecipe.kind for arm in space.arms)
        # A small space has fewer recipes than points.
        points = {
            point.recipe(space): point
            for point in initial_design(space, count * arms, LocalRecipe.kind)
            if point.recipe(space).base not in failed
        }
        for number, (recipe, point) in enumerate(points.items()):
            self._services.progress.trial(LABEL, number, len(points))
            if not isinstance(recipe, LocalRecipe):
                raise TypeError(f"expected a local recipe, got {recipe.kind}")
            yield Scout(point, recipe, self._score(recipe))

    def _score(self, recipe: LocalRecipe) -> float | None:
        scout, scores = scout_of(recipe), list[float]()

        def on_epoch(end: EpochEnd) -> None:
            if end.epoch in kept_among(scout):
                scores.append(self._evaluator.report(end.embedder).means[self._objective])

        try:
            self._services.backend(scout).train(
                scout, self._dataset.train, None, TrainingListener(on_epoch=on_epoch)
            )
        except TrialFailure:
            return None
        return max(scores, default=None)
