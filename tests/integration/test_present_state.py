"""Promotion, history, doctor and report describe the registry as it is, and name the way out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from embedsweep.cli import main
from embedsweep.core.errors import Refusal
from embedsweep.core.experiment import Experiment
from embedsweep.core.promotion import PENDING, PromotionPolicy, Verdict
from embedsweep.workflows.examine import examine
from embedsweep.workflows.promote import promote
from embedsweep.workflows.report import findings
from embedsweep.workflows.rollback import history, rollback
from embedsweep.workflows.services import Services
from embedsweep.workflows.standing import standing_of
from embedsweep.workflows.sweep import run_sweep
from tests.contract.store_cases import Stores, open_stores
from tests.integration.table_backend import TableBackend
from tests.integration.table_story import DATASET, experiment, services_of

NAME = "topics"


class Promoted:
    """A sweep whose candidate, version 2, was compared with version 1, in MLflow; and promoted."""

    def __init__(self, folder: Path, base: Path, plan: Experiment | None = None) -> None:
        self.stores: Stores = open_stores("mlflow", folder / "mlruns", base)
        self.client: MlflowClient = self.stores.ledger.client  # type: ignore[attr-defined]
        (folder / "services").mkdir()
        self.services: Services = replace(
            services_of(folder / "services", TableBackend()),
            ledger=self.stores.ledger,
            registry=self.stores.registry,
        )
        self.settings = folder / "stores.env"
        self.settings.write_text("EMBEDSWEEP_HOME=mlruns\n")
        run_sweep(plan or experiment(), DATASET, self.services)
        verdict = promote(plan or experiment(), DATASET, self.services).decision.verdict
        assert verdict is (Verdict.INCONCLUSIVE if plan else Verdict.PROMOTED)

    @property
    def champion(self) -> int | None:
        return standing_of(self.stores.registry, NAME).number

    def doctor(self) -> list[str]:
        work = self.stores.folder / "examined"
        work.mkdir(exist_ok=True)
        from embedsweep.stores.mlflow_upkeep import MlflowUpkeep

        upkeep = MlflowUpkeep(self.client, self.stores.folder / "locks", work)
        return [str(finding) for finding in examine(self.stores.registry, upkeep, work)]

    def follow(self, message: str) -> int:
        """Type the command that a message names."""
        command = re.search(r"`embedsweep ([^`]*)`", message)
        assert command is not None, message
        return main([*shlex.split(command[1]), "--stores", str(self.settings)])

    def report(self) -> str:
        found = findings(experiment(), DATASET, self.stores.ledger, self.stores.registry)
        return found.outdated


@pytest.fixture
def promoted(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Promoted:
    return Promoted(tmp_path, tmp_path_factory.getbasetemp())


def roll_back(promoted: Promoted) -> None:
    rollback(promoted.stores.registry, NAME)


def move_alias(promoted: Promoted) -> None:
    promoted.client.set_registered_model_alias(NAME, "champion", "1")


def remove_alias(promoted: Promoted) -> None:
    promoted.client.delete_registered_model_alias(NAME, "champion")


def delete_former(promoted: Promoted) -> None:
    roll_back(promoted)
    promoted.client.delete_model_version(NAME, "1")


def move_to_foreign(promoted: Promoted) -> None:
    """Somebody registered another model under the name, and made it champion."""
    made = promoted.client.create_model_version(NAME, "/somewhere", await_creation_for=0)
    promoted.client.set_registered_model_alias(NAME, "champion", made.version)


@pytest.mark.parametrize(
    ("change", "now", "said"),
    [
        (roll_back, 1, r"version 1 is champion now \(rolled back by"),
        (move_alias, 1, "version 1 is champion now, which no decision on record says"),
        (remove_alias, None, "no version is champion now"),
        (delete_former, None, "no version is champion now"),
        (move_to_foreign, 3, "version 3 is champion now, which no decision on record says"),
    ],
)
def test_a_verdict_that_no_longer_holds_is_named_with_the_way_back(
    promoted: Promoted, change: Callable[[Promoted], None], now: int | None, said: str
) -> None:
    change(promoted)
    promotion = promote(experiment(), DATASET, promoted.services)
    assert promotion.recorded
    assert promotion.champion == now
    assert promotion.outdated is not None
    assert promotion.outdated.exit_code == 5
    assert re.search(f"version 2 was promoted, and {said}", str(promotion.outdated))
    assert re.search(said, promoted.report())
    assert promoted.champion == now
    assert promoted.follow(str(promotion.outdated)) == 0
    again = promote(experiment(), DATASET, promoted.services)
    assert (again.outdated, again.champion, promoted.champion) == (None, 2, 2)
    assert promoted.report() == ""
    assert promoted.doctor() == []


@pytest.mark.parametrize(
    ("change", "after"),
    [(move_alias, 1), (remove_alias, 2), (delete_former, 2), (move_to_foreign, 2)],
)
def test_doctor_and_history_name_one_command_that_leads_out(
    promoted: Promoted,
    change: Callable[[Promoted], None],
    after: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(promoted)
    (finding,) = [each for each in promoted.doctor() if "alias champion" in each]
    assert main(["history", NAME, "--stores", str(promoted.settings)]) == 0
    told = capsys.readouterr()
    now = promoted.champion
    assert told.out.splitlines()[-1] == (
        f"champion is version {now}" if now else "no version is champion"
    )
    assert finding.removeprefix("error: ").split(". Fix")[0] in told.err
    assert not any(row["stands"] for row in history(promoted.stores.registry, NAME))
    assert promoted.follow(finding) == 0
    assert promoted.champion == after
    assert promoted.doctor() == []
    assert history(promoted.stores.registry, NAME)[-1]["stands"]


def test_a_rollback_by_command_is_no_finding(promoted: Promoted) -> None:
    roll_back(promoted)
    assert promoted.doctor() == []
    assert [row["stands"] for row in history(promoted.stores.registry, NAME)] == [False, True]


def test_a_deleted_champion_leads_to_the_one_before_and_is_compared_again(
    promoted: Promoted,
) -> None:
    promoted.client.delete_model_version(NAME, "2")
    with pytest.raises(Refusal, match="the alias `champion` is gone") as caught:
        promote(experiment(), DATASET, promoted.services)
    assert promoted.follow(str(caught.value)) == 0
    assert promoted.champion == 1
    again = promote(experiment(), DATASET, promoted.services)
    # On the test use that the candidate has: nothing more is spent.
    assert (again.recorded, again.decision.verdict, again.decision.look) == (
        False,
        Verdict.PROMOTED,
        1,
    )
    assert promoted.champion == again.decision.version
    # MLflow gives the number of a deleted last version again: it is another model.
    assert promoted.doctor() == []


@pytest.mark.parametrize("whole", [True, False])
def test_where_nothing_is_left_promotion_starts_again(promoted: Promoted, whole: bool) -> None:
    if whole:
        promoted.client.delete_registered_model(NAME)
    else:
        for number in "12":
            promoted.client.delete_model_version(NAME, number)
        (finding,) = promoted.doctor()
        assert "run `embedsweep promote EXPERIMENT.yaml`" in finding
    again = promote(experiment(), DATASET, promoted.services)
    assert (again.recorded, again.outdated) == (False, None)
    assert again.champion == promoted.champion == again.decision.version
    assert promoted.doctor() == []


def test_a_verdict_against_a_champion_of_the_past_is_named(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    strict = experiment(policy=PromotionPolicy(min_gain=0.99))
    kept = Promoted(tmp_path, tmp_path_factory.getbasetemp(), strict)
    assert promote(strict, DATASET, kept.services).outdated is None
    kept.client.set_registered_model_alias(NAME, "champion", "2")
    outdated = promote(strict, DATASET, kept.services).outdated
    assert "was inconclusive against version 1, and version 2 is champion now" in str(outdated)
    assert kept.follow(str(outdated)) == 0
    assert promote(strict, DATASET, kept.services).outdated is None


def die_before_the_move(promoted: Promoted, number: int, before: int) -> None:
    """The state that a process leaves that died after its decision and before the move."""
    promoted.client.set_registered_model_alias(NAME, PENDING, str(number))
    promoted.client.set_registered_model_alias(NAME, "champion", str(before))


def test_a_promotion_that_broke_off_is_finished_and_a_move_by_hand_is_not(
    promoted: Promoted,
) -> None:
    die_before_the_move(promoted, 2, 1)
    promotion = promote(experiment(), DATASET, promoted.services)
    assert (promotion.outdated, promotion.champion, promoted.champion) == (None, 2, 2)
    assert promoted.stores.registry.resolve(NAME, PENDING) is None
    # The control: without the alias of the pending move, it is a move by hand.
    move_alias(promoted)
    assert promote(experiment(), DATASET, promoted.services).outdated is not None
    assert promoted.champion == 1


def test_a_rollback_that_broke_off_is_finished_and_not_undone(promoted: Promoted) -> None:
    roll_back(promoted)
    die_before_the_move(promoted, 1, 2)
    assert rollback(promoted.stores.registry, NAME).champion_version == 1
    assert promoted.champion == 1
    assert len(history(promoted.stores.registry, NAME)) == 2


def test_only_a_former_champion_becomes_one_without_a_comparison(promoted: Promoted) -> None:
    registry = promoted.stores.registry
    move_to_foreign(promoted)
    with pytest.raises(Refusal, match="those are: 2, 1"):
        rollback(registry, NAME, 3)
    assert rollback(registry, NAME, 2).champion_version == 2
    with pytest.raises(Refusal, match="it is champion already"):
        rollback(registry, NAME, 2)
    with suppress(Refusal):
        rollback(registry, NAME, 1)
    assert promoted.champion == 1
