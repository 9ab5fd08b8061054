"""A model's champion as the registry has it now, and whether the record still describes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from embedsweep.core.errors import DataError, Refusal
from embedsweep.core.ports import Registry, Version
from embedsweep.core.promotion import PENDING, Decision, Verdict


@dataclass(frozen=True)
class Standing:
    """The present state of a registered model.

    Attributes:
        model: Name in the registry.
        champion: The version that the alias `champion` points to now, or `None`.
        history: Every decision on the model, oldest first.
        former: Versions that the record names as champion and that still exist, newest first.
    """

    model: str
    champion: Version | None
    history: Sequence[Decision]
    former: Sequence[Version]

    @property
    def number(self) -> int | None:
        """The champion's version number now."""
        return self.champion.number if self.champion else None

    @property
    def is_as_recorded(self) -> bool:
        """Whether the champion is the one that the last decision left; true without a decision."""
        if not self.history:
            return True
        number, fingerprint = _left(self.history[-1])
        found = self.champion
        return (found and (found.number, found.fingerprint)) == (number and (number, fingerprint))

    @property
    def in_words(self) -> str:
        """The champion now, and what the record says about that."""
        if self.champion is None:
            return "no version is champion now"
        found = f"version {self.champion.number} is champion now"
        if not self.is_as_recorded:
            return f"{found}, which no decision on record says"
        if self.history and self.history[-1].rolled_back:
            last = self.history[-1]
            return f"{found} (rolled back by {last.by} at {last.at})"
        return found

    def outdated(self, decision: Decision) -> Refusal | None:
        """Return the error of a recorded decision that no longer describes the registry.

        A promotion holds while its version is champion. Any other verdict holds while the champion
        is the one that the candidate was compared with.
        """
        number, fingerprint = _left(decision)
        found = self.champion
        if found is not None and (found.number, found.fingerprint) == (number, fingerprint):
            return None
        promoted = decision.verdict is Verdict.PROMOTED
        what = (
            "was promoted" if promoted else f"was {decision.verdict.value} against version {number}"
        )
        return Refusal(
            f"decision of {decision.at}",
            f"model {self.model!r}",
            f"it no longer describes the registry: version {decision.version} {what}, and "
            f"{self.in_words}",
            self._way_back(decision),
        )

    def lost(self, decision: Decision) -> bool:
        """Whether the decision promoted a version that was deleted since."""
        return decision.verdict is Verdict.PROMOTED and not self._has(_left(decision))

    def _has(self, champion: tuple[int | None, str]) -> bool:
        return any((each.number, each.fingerprint) == champion for each in self.former)

    def _way_back(self, decision: Decision) -> str:
        wanted = _left(decision)
        if self._has(wanted):
            return _restored(self.model, wanted[0])
        if self.champion is None:
            return self.way_out()
        return "raise `trials` in the experiment, and run `embedsweep sweep EXPERIMENT.yaml`"

    def check_champion(self) -> None:
        """Check that a candidate can be compared with what the registry has as champion.

        Raises:
            Refusal: If the champion was removed while a former champion exists, or embedsweep did
                not register it. The message names the command that leads out.
        """
        found = self.champion
        if found is not None and found.manifest_digest:
            return
        if found is None and not self.former:
            return
        why = "the alias `champion` is gone, and the record has decisions"
        if found is not None:
            why = f"embedsweep did not register version {found.number}, which is champion now"
        raise Refusal(f"champion of model {self.model!r}", "the registry", why, self.way_out())

    def way_out(self) -> str:
        """The command that makes registry and record agree again."""
        present = [each for each in self.former if each.number == self.number]
        others = [each for each in self.former if each.number != self.number]
        if present and others:
            kept, other = present[0].number, others[0].number
            return (
                f"run `embedsweep rollback {self.model} --to {kept}` to keep version {kept}, or "
                f"`--to {other}` to return to version {other}"
            )
        if self.former:
            return _restored(self.model, self.former[0].number)
        return "run `embedsweep promote EXPERIMENT.yaml` with the experiment of this model"

    def finding(self) -> DataError | None:
        """Return what `doctor` and `history` report, or `None` if registry and record agree."""
        if self.is_as_recorded:
            return None
        recorded = self.history[-1].champion_version
        return DataError(
            f"alias champion of model {self.model}",
            "the registry",
            f"it points to {_numbered(self.number)}, and the last decision on record says "
            f"{_numbered(recorded)}",
            self.way_out(),
        )


def standing_of(registry: Registry, name: str) -> Standing:
    """Return the present state of a model; without champion and history if it is not known.

    Raises:
        DataError: If the model's record was tampered with.
    """
    history = registry.history(name)
    former: list[Version] = []
    for number, fingerprint in _champions(history):
        version = registry.resolve(name, str(number))
        if version is not None and version.fingerprint == fingerprint and version not in former:
            former.append(version)
    return Standing(name, registry.resolve(name), history, former)


def finish_move(registry: Registry, name: str) -> Decision | None:
    """Move the champion if a process died after its decision and before the move.

    Returns:
        The decision that is carried out now, or `None` if no move was pending. An alias that was
        moved by hand is not a pending move and stays as it is.
    """
    pending = registry.resolve(name, PENDING)
    history = registry.history(name)
    if pending is None or not history or history[-1].champion_version != pending.number:
        return None
    champion = registry.resolve(name)
    number = champion.number if champion else None
    if number not in (history[-1].previous_version, pending.number):
        return None
    registry.crown(pending, expected=number)
    return history[-1]


def _left(decision: Decision) -> tuple[int | None, str]:
    """Number and fingerprint of the champion that a decision left."""
    if decision.champion_version == decision.version:
        return decision.champion_version, decision.candidate_fingerprint
    return decision.champion_version, decision.rival_fingerprint


def _champions(history: Sequence[Decision]) -> Iterator[tuple[int, str]]:
    """Number and fingerprint of every champion on record, newest first.

    A number alone is not enough: MLflow gives the number of a deleted last version again.
    """
    for decision in reversed(history):
        number, fingerprint = _left(decision)
        if number is not None:
            yield number, fingerprint
        if decision.previous_version is not None:
            yield decision.previous_version, decision.rival_fingerprint


def _restored(model: str, number: int | None) -> str:
    return (
        f"run `embedsweep rollback {model} --to {number}` to make version {number} champion again"
    )


def _numbered(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
