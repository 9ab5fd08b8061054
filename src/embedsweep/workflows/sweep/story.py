"""The story of a sweep, from an experiment to a full ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import Superseded, UsageError
from embedsweep.core.experiment import Experiment, PrunerKind
from embedsweep.core.finalists import seeded
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.interrupts import uninterrupted
from embedsweep.core.ports import OpenSweep, Sweep, TrialEnd, TrialStart
from embedsweep.core.recipe import (
    Base,
    BaselineRecipe,
    Recipe,
    recipe_fingerprint,
)
from embedsweep.core.scouts import Scout
from embedsweep.core.trial import Completed, Failed, Pruned, Role, Trial, best_trial
from embedsweep.workflows.losses import LossWatch, barred, in_words, read_losses
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep.epochs import Watch
from embedsweep.workflows.sweep.failed_bases import failed_bases, report_failed
from embedsweep.workflows.sweep.proposals import NUMBER, Proposal, Proposals, first_values
from embedsweep.workflows.sweep.run_trial import TrialRunner
from embedsweep.workflows.sweep.scouting import Scouting

REPEATS_IN_A_ROW = 50
"""So many proposals of recipes already tried, one after another, end a sweep: nothing is left."""


@dataclass(frozen=True)
class SweepOptions:
    """How this call runs the sweep.

    Attributes:
        trials: How many trials the sweep shall have in all; None for the experiment's number.
        new_study: Begin anew even if the experiment has a sweep already.
    """

    trials: int | None = None
    new_study: bool = False


def run_sweep(
    experiment: Experiment,
    dataset: Dataset,
    services: Services,
    options: SweepOptions = SweepOptions(),
) -> OpenSweep:
    """Begin the experiment's sweep, or go on where it stopped, until its trials are done.

    Raises:
        UsageError: The experiment changed since its sweep began.
        KeyboardInterrupt: Goes through; what was done stays, the trial at hand is run again.
        Superseded: Another process runs the sweep now.
    """
    bases = {base: services.backend_of(base).base_digest(base) for base in experiment.space.bases()}
    sweep: OpenSweep | None = None
    coordinator: _Coordinator | None = None
    status = "FAILED"
    try:
        # What is begun is known here before a signal comes, so that it can be ended.
        with uninterrupted():
            sweep = _open(experiment, dataset, services, bases, new=options.new_study)
        coordinator = _Coordinator(experiment, dataset, services, sweep, bases)
        services.ledger.attach(sweep, "leakage.csv", dataset.leakage.as_csv())
        services.ledger.attach(sweep, "leakage.json", dataset.leakage.as_json())
        coordinator.run(options.trials or experiment.trials)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Superseded:
        # Another process runs the sweep now: nothing of it may be written here.
        sweep = None
        raise
    finally:
        if sweep is not None:
            services.ledger.end(sweep, status, {} if coordinator is None else coordinator.summary())
    return sweep


def _open(
    experiment: Experiment,
    dataset: Dataset,
    services: Services,
    bases: Mapping[Base, str],
    *,
    new: bool,
) -> OpenSweep:
    identity = {
        "objective": str(experiment.objective),
        "space": experiment.space.as_dict(),
        "data": {split.value: digest for split, digest in dataset.digests.items()},
        "base_models": {str(base): digest for base, digest in bases.items()},
    }
    digest = fingerprint(identity)
    known = services.ledger.latest(experiment.name)
    if known is None or new:
        return services.ledger.begin(
            Sweep(
                name=experiment.name,
                objective=str(experiment.objective),
                identity=identity,
                digest=digest,
                dataset=dataset,
                experiment_file=experiment.text,
            )
        )
    if known.digest != digest:
        raise _changed(experiment, known, identity)
    reaped = services.ledger.resume(known)
    if reaped:
        numbers = ", ".join(map(str, reaped))
        services.progress.say(f"trial {numbers} was interrupted and is run again")
    return known


def _changed(
    experiment: Experiment, known: OpenSweep, identity: Mapping[str, object]
) -> UsageError:
    changes = [
        f"{name} was {_short(known.identity.get(name))}, is {_short(value)}"
        for name, value in identity.items()
        if known.identity.get(name) != value
    ]
    return UsageError(
        f"experiment {experiment.name!r}",
        str(experiment.path),
        f"it changed since its sweep began: {'; '.join(changes)}",
        "pass --new-study to begin another sweep, or undo the change",
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{fingerprint(value)[:12]}…"


class _Coordinator:
    """Runs what is missing of a sweep, one trial after another."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        services: Services,
        sweep: OpenSweep,
        bases: Mapping[Base, str],
    ) -> None:
        self._experiment = experiment
        self._dataset = dataset
        self._services = services
        self._sweep = sweep
        self._bases = bases
        self._runner = TrialRunner(services, sweep, dataset, experiment.objective)
        self._losses = LossWatch(services.ledger, experiment.objective)
        self._wanted = 0
        self._failed: Mapping[Base, Failed] = {}
        self._trials: dict[tuple[Role, int], Trial] = {
            (trial.role, trial.number): trial for trial in services.ledger.trials(sweep)
        }

    def run(self, wanted: int) -> None:
        began = time.monotonic()
        self._wanted = wanted
        if self._search(wanted, began):
            self._repeat_finalists(began)

    def _search(self, wanted: int, began: float) -> bool:
        """Run baselines and trials; False if time ran out before all were run."""
        self._show()
        for start in self._missing_baselines():
            self._keep(self._runner.run(start))
        self._failed = failed_bases(self._trials.values())
        report_failed(self._experiment, self._failed, self._services.progress.say)
        proposals = Proposals.open(
            self._experiment, f"{self._sweep.name}/{self._sweep.run_id}", self._services.open_study
        )
        if proposals.untouched:
            proposals.begin(first_values(self._experiment, self._best_scouts()))
        proposals.settle({trial.number: self._score(trial) for trial in self._drawn()})
        self._show()
        repeats = 0
        while len(self._drawn()) < wanted and repeats < REPEATS_IN_A_ROW:
            if self._out_of_time(began):
                return False
            if proposals.exhausted:
                self._services.progress.say("every recipe of the space has been tried")
                return True
            repeats = 0 if self._try(proposals) else repeats + 1
        return True

    def _best_scouts(self) -> Mapping[str, Sequence[Scout]]:
        experiment = self._experiment
        if experiment.scouts is None:
            return {}
        scouting = Scouting(
            self._services, self._dataset, self._runner.sampled, experiment.objective
        )
        return scouting.best(self._sweep, experiment.space, experiment.scouts, self._failed)

    def _repeat_finalists(self, began: float) -> None:
        """Train the best trials' recipes on further seeds, each recipe once before any twice."""
        plan = self._experiment.finalists
        if plan is None:
            return
        chosen = self._finalists(plan.top)
        for repeat in range(1, plan.seeds + 1):
            for trial in chosen:
                recipe = seeded(trial.recipe_kept, repeat)
                identity = self._fingerprint(recipe)
                known = [each for each in self._trials.values() if each.role is Role.FINALIST]
                if any(each.fingerprint == identity for each in known):
                    continue
                if self._out_of_time(began):
                    return
                start = TrialStart(len(known), Role.FINALIST, trial.arm, recipe, identity)
                self._keep(self._reused(start) or self._runner.run(start))

    def _finalists(self, top: int) -> list[Trial]:
        """Return the best trials; those with a loss that no guard allows only if all have one."""
        every = list(self._trials.values())
        losses = read_losses(self._services.ledger, every, self._experiment.objective)
        out = barred(losses, self._experiment.policy)
        scored = [
            (-score, trial.number, trial)
            for trial in self._drawn()
            if (score := self._score(trial)) is not None
        ]
        ranked = [trial for *_, trial in sorted(scored, key=lambda row: row[:2])]
        left = [trial for trial in ranked if trial.run_id not in out]
        return (left or ranked)[:top]

    def summary(self) -> dict[str, float]:
        """Numbers for the sweep's own run."""
        best = self._best()
        score = self._score(best) if best else None
        counts = {
            f"trials/{state}": float(sum(trial.state == state for trial in self._drawn()))
            for state in ("completed", "pruned", "failed")
        }
        if best is None or score is None:
            return counts
        return {**counts, self._experiment.objective.key("best/valid"): score}

    def _missing_baselines(self) -> Iterator[TrialStart]:
        known = {trial.fingerprint for trial in self._trials.values()}
        for number, recipe in enumerate(self._baselines()):
            identity = self._fingerprint(recipe)
            if identity not in known:
                yield TrialStart(number, Role.BASELINE, Role.BASELINE.value, recipe, identity)

    def _baselines(self) -> list[BaselineRecipe]:
        recipes = [
            BaselineRecipe(
                method="untuned",
                base_model=base.model,
                provider=base.provider,
                dimensions=base.dimensions,
                prompts=base.prompts,
                revision=base.revision,
            )
            for base in self._bases
        ]
        retrieval = self._dataset.valid.retrieval
        if retrieval is not None and not retrieval.leave_one_out:
            recipes.append(BaselineRecipe(method="bm25"))
        return recipes

    def _try(self, proposals: Proposals) -> bool:
        """Ask for a recipe and see it through; False if it had been tried in this sweep."""
        self._services.check_owner()
        proposal = proposals.ask()
        if proposal.recipe.base in self._failed:
            proposals.tell(proposal, None)
            return True
        identity = self._fingerprint(proposal.recipe)
        for trial in self._drawn():
            if trial.fingerprint == identity:
                proposals.tell(proposal, self._score(trial))
                return False
        number = len(self._drawn())
        proposal.trial.set_user_attr(NUMBER, number)
        start = TrialStart(number, Role.TRIAL, proposal.arm, proposal.recipe, identity)
        try:
            trial = self._reused(start) or self._run(start, proposal)
        except BaseException:
            proposals.retry(proposal)
            raise
        self._keep(trial)
        if isinstance(trial.outcome, Pruned):
            proposals.tell_pruned(proposal)
        else:
            proposals.tell(proposal, self._score(trial))
        return True

    def _run(self, start: TrialStart, proposal: Proposal) -> Trial:
        def keeps_up(epoch: int, value: float) -> bool:
            with uninterrupted():
                proposal.trial.report(value, epoch)
                return not proposal.trial.should_prune()

        watch = Watch(keeps_up, wants_all=self._experiment.pruner is not PrunerKind.NONE)
        return self._runner.run(start, watch)

    def _reused(self, start: TrialStart) -> Trial | None:
        """The result of an equal trial of an earlier sweep, recorded here without running."""
        ledger = self._services.ledger
        known = ledger.find(self._sweep.name, start.fingerprint)
        if known is None:
            return None
        with uninterrupted():
            run_id = ledger.start(self._sweep, self._dataset, start)
            return ledger.finish(run_id, start, TrialEnd(Completed(), seconds=0.0, reused=known))

    def _fingerprint(self, recipe: Recipe) -> str:
        data = self._dataset.fingerprint
        base = recipe.base
        return recipe_fingerprint(recipe, data, *([self._bases[base]] if base else []))

    def _drawn(self) -> list[Trial]:
        return [trial for trial in self._trials.values() if trial.role is Role.TRIAL]

    def _best(self) -> Trial | None:
        return best_trial(list(self._trials.values()), self._experiment.objective)

    def _score(self, trial: Trial) -> float | None:
        return trial.score(self._experiment.objective)

    def _keep(self, trial: Trial) -> None:
        self._trials[trial.role, trial.number] = trial
        line = _line(trial, self._score(trial), self._experiment)
        # The leaderboard corrects for the number of trials, which is not known yet.
        lost = self._losses.of(trial, list(self._trials.values()))
        worse = f"; significantly worse than untuned in {in_words(lost)}" if lost else ""
        self._show(f"{line}{worse}")

    def _show(self, ended: str = "") -> None:
        best = self._best()
        score = self._score(best) if best else None
        self._services.progress.sweep(len(self._drawn()), self._wanted, score, ended)

    def _out_of_time(self, began: float) -> bool:
        minutes = self._experiment.budget.minutes
        if minutes is None or time.monotonic() - began <= minutes * 60:
            return False
        self._services.progress.say("the budget's minutes are spent; no new trial begins")
        return True


def _line(trial: Trial, score: float | None, experiment: Experiment) -> str:
    """One line about an ended trial."""
    result = f"{experiment.objective} {score:.4f}" if score is not None else _without(trial)
    reused = " (reused)" if trial.reused_from else ""
    what = f"{trial.recipe_in_words}{reused}"
    return f"{trial.role.value} {trial.number}: {result} in {trial.seconds:.0f} s, {what}"


def _without(trial: Trial) -> str:
    failure = trial.as_dict()["failure"]
    return f"failed ({failure['kind']}: {failure['message']})" if failure else trial.state
