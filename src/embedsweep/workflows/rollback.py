"""Champions of the past: the history of a model, and the way back to an earlier version."""

from __future__ import annotations

from typing import Any

from embedsweep.core.errors import Refusal, UsageError
from embedsweep.core.ports import Registry, Version
from embedsweep.core.promotion import Decision, Verdict
from embedsweep.workflows.promote import now, who
from embedsweep.workflows.standing import Standing, finish_move, standing_of


def rollback(registry: Registry, name: str, to: int | None = None) -> Decision:
    """Make an earlier champion champion again, and record it.

    Args:
        registry: Where the model is.
        name: The model.
        to: The version; `None` for the champion before the present one. The present champion is
            accepted if the record says otherwise, which puts it on record.

    Raises:
        UsageError: If the model is not known.
        Refusal: If no such version was champion before, or nothing would change.
    """
    finished = finish_move(registry, name)
    standing = known_standing(registry, name)
    if finished is not None and finished.rolled_back and to in (None, finished.version):
        return finished
    target = _previous(registry, standing) if to is None else _former(standing, to)
    champion = standing.champion
    change = "put on record by hand, without a champion before"
    if champion is not None:
        change = f"rolled back from version {champion.number} by hand"
    if champion == target:
        change = f"version {target.number} was champion, and the record said otherwise"
    decision = Decision(
        verdict=Verdict.PROMOTED,
        model=name,
        version=target.number,
        previous_version=champion.number if champion else None,
        champion_version=target.number,
        comparison=None,
        trials_tried=0,
        look=0,
        alpha=0.0,
        reasons=(change,),
        candidate_run=target.run_id,
        rival_run=champion.run_id if champion else "",
        candidate_fingerprint=target.fingerprint,
        rival_fingerprint=champion.fingerprint if champion else "",
        benchmark="",
        at=now(),
        by=who(),
        rolled_back=True,
    )
    registry.crown(target, expected=standing.number, decision=decision)
    return decision


def _previous(registry: Registry, standing: Standing) -> Version:
    """The champion before the present one."""
    champion = standing.champion
    if champion is None:
        raise Refusal(
            f"model {standing.model!r}", "the registry", "it has no champion", standing.way_out()
        )
    previous = registry.resolve(standing.model, "previous")
    for version in (*filter(None, [previous]), *standing.former):
        if version.number != champion.number:
            return version
    raise Refusal(
        f"model {standing.model!r}",
        "the registry",
        f"version {champion.number} is its first champion, there is none before it",
        f"see `embedsweep history {standing.model}`",
    )


def _former(standing: Standing, number: int) -> Version:
    """The version of that number, if it was champion and is not what it would become."""
    found = [version for version in standing.former if version.number == number]
    if not found:
        known = ", ".join(str(version.number) for version in standing.former) or "none"
        raise Refusal(
            f"version {number}",
            f"model {standing.model!r}",
            f"only a former champion can be one again without a comparison; those are: {known}",
            "name one of those, or run `embedsweep promote EXPERIMENT.yaml`",
        )
    if standing.number == number and standing.is_as_recorded:
        raise Refusal(
            f"version {number}",
            f"model {standing.model!r}",
            "it is champion already",
            f"see `embedsweep history {standing.model}`",
        )
    return found[0]


def history(registry: Registry, name: str) -> list[dict[str, Any]]:
    """Every decision on a model, oldest first, in the shape that ``history --json`` prints."""
    standing = known_standing(registry, name)
    rows = [_as_row(decision) for decision in standing.history]
    return [
        {**row, "stands": standing.is_as_recorded and place == len(rows)}
        for place, row in enumerate(rows, start=1)
    ]


def _as_row(decision: Decision) -> dict[str, Any]:
    found = decision.comparison
    promoted = decision.verdict is Verdict.PROMOTED
    return {
        "version": decision.version,
        "alias": "champion" if promoted else "challenger",
        "at": decision.at,
        "from": decision.previous_version,
        "to": decision.champion_version,
        "verdict": "rolled back" if decision.rolled_back else decision.verdict.value,
        "run_id": decision.candidate_run,
        "gain": found.gain if found else None,
        "p_value": found.p_value if found else None,
        "look": decision.look,
        "alpha": decision.alpha,
        "by": decision.by,
    }


def known_standing(registry: Registry, name: str) -> Standing:
    """Return the present state of a model that has a champion or a history.

    Raises:
        UsageError: If it has neither.
    """
    standing = standing_of(registry, name)
    if standing.champion is None and not standing.history:
        names = ", ".join(registry.names()) or "none"
        raise UsageError(
            f"model {name!r}",
            "the registry",
            f"it has no champion; models there are: {names}",
            "name one of those, or run `embedsweep promote EXPERIMENT.yaml` first",
        )
    return standing
