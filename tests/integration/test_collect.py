"""Collecting kept models: what is needed stays, the rest goes, and everyone is told."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.cli import main
from embedsweep.core.errors import DataError, StoreError
from embedsweep.core.ports import TrialEnd, TrialStart
from embedsweep.core.trial import Completed, Role, Trial
from embedsweep.core.upkeep import KeptModel
from embedsweep.stores.locks import lock_sweep
from embedsweep.stores.mlflow_model import remove_model_files
from embedsweep.stores.mlflow_upkeep import MlflowUpkeep
from embedsweep.stores.workspace import leftover_folders, work_folder
from embedsweep.workflows.collect import Collection, collect
from tests.contract.store_cases import (
    Stores,
    baseline,
    dataset,
    decision,
    open_stores,
    run_trial,
    start,
    sweep,
    write_model,
)

NAME = "support"


class Swept:
    """A finished sweep: an untuned baseline and six trials, the last one the best."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.opened = stores.ledger.begin(sweep())
        self.baseline = run_trial(stores, self.opened, baseline(), 0.1)
        self.trials = [
            run_trial(stores, self.opened, start(number), 0.2 + number / 10) for number in range(6)
        ]
        stores.ledger.end(self.opened, "FINISHED", {})

    def crown(self, *numbers: int) -> None:
        """Make these trials champion, one after another, each decision on record."""
        registry = self.stores.registry
        for number in numbers:
            version = registry.publish(NAME, self.trials[number])
            champion = registry.resolve(NAME)
            before = champion.number if champion else None
            made = decision(NAME)
            registry.crown(version, before, _of(made, before, version.number))


def _of(made, before, after):
    return replace(made, previous_version=before, version=after, champion_version=after)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Swept, Path]:
    """The sweep, and a copy of its store to go back to: to keep seven models takes seconds."""
    home = tmp_path_factory.mktemp("collect")
    made = Swept(open_stores("mlflow", home / "store", tmp_path_factory.getbasetemp(), page=2))
    shutil.copytree(made.stores.folder, home / "copy")
    return made, home / "copy"


@pytest.fixture
def swept(template: tuple[Swept, Path]) -> Iterator[Swept]:
    made, copy = template
    yield made
    folder = made.stores.folder
    # Not the file: MLflow holds it open.
    with (
        closing(sqlite3.connect(copy / "mlflow.db")) as source,
        closing(sqlite3.connect(folder / "mlflow.db")) as target,
    ):
        source.backup(target)
    shutil.rmtree(folder / "artifacts")
    shutil.copytree(copy / "artifacts", folder / "artifacts")


@pytest.fixture
def stores(swept: Swept) -> Stores:
    return swept.stores


@pytest.fixture
def upkeep(stores: Stores) -> MlflowUpkeep:
    client = stores.ledger.client  # type: ignore[attr-defined]
    return MlflowUpkeep(client, stores.folder / "locks", stores.folder / "work", page=2)


def collected(stores: Stores, upkeep: MlflowUpkeep, keep: int = 0, *, delete: bool = True):
    return collect(upkeep, stores.ledger, stores.registry, keep, delete=delete)


def labels(found: Collection) -> list[str]:
    return [model.label for model in found.models]


def why(found: Collection, trial: Trial) -> tuple[str, ...]:
    return next(by for model, by in found.needed if model.reference == trial.model_reference)


def has_files(stores: Stores, trial: Trial) -> bool:
    name = str(trial.model_reference).removeprefix("models:/")
    return any(path.is_dir() for path in stores.folder.rglob(name))


def test_the_best_stays_and_the_others_go(stores, upkeep, swept) -> None:
    before = collected(stores, upkeep, delete=False)
    assert labels(before) == [f"trial-{n:04d}" for n in range(5)]
    assert all(has_files(stores, trial) for trial in swept.trials)
    assert why(before, swept.trials[5]) == (
        "the best trial of the newest sweep of support-search",
        "the candidate of the newest sweep of support-search",
    )
    assert why(before, swept.baseline) == (
        "the best baseline of the newest sweep of support-search",
    )

    found = collected(stores, upkeep)
    assert found.models == before.models
    assert found.size == before.size == sum(model.size for model in before.models) > 5 * 4000
    assert [has_files(stores, trial) for trial in swept.trials] == [False] * 5 + [True]
    again = collected(stores, upkeep)
    assert again.models == ()
    assert again.size == 0
    trials = stores.ledger.trials(swept.opened)
    assert [trial.metrics for trial in trials[1:]] == [trial.metrics for trial in swept.trials]
    assert [trial.model_reference is None for trial in trials] == [False] + [True] * 5 + [False]


def test_what_was_collected_is_told_by_date_and_program(stores, upkeep, swept, tmp_path) -> None:
    stores.registry.publish(NAME, swept.trials[0])
    collected(stores, upkeep)
    references = (str(swept.trials[0].model_reference), f"models:/{NAME}/1")
    for number, reference in enumerate((*references, f"runs:/{swept.trials[0].run_id}")):
        with pytest.raises(DataError, match=r"collected on 20\d\d-.* by `embedsweep gc`") as caught:
            stores.registry.fetch(reference, tmp_path / str(number))
        assert swept.trials[0].run_id in str(caught.value)
        assert "sweep EXPERIMENT.yaml --new-study" in str(caught.value)


def test_an_equal_trial_is_made_again_after_its_model_went(stores, upkeep, swept) -> None:
    lost, kept = swept.trials[0], swept.trials[5]
    assert stores.ledger.find("support-search", lost.fingerprint) == lost
    collected(stores, upkeep)
    assert stores.ledger.find("support-search", lost.fingerprint) is None
    assert stores.ledger.find("support-search", kept.fingerprint) == kept
    again = run_trial(stores, stores.ledger.begin(sweep(trials=9)), start(0), 0.2)
    assert stores.ledger.find("support-search", lost.fingerprint) == again


def test_what_an_alias_points_to_stays(stores, upkeep, swept) -> None:
    registry, client = stores.registry, stores.ledger.client
    for trial in swept.trials[:4]:
        registry.publish(NAME, trial)
    registry.crown(registry.resolve(NAME, "1"), None)
    registry.crown(registry.resolve(NAME, "2"), 1)
    registry.challenge(registry.resolve(NAME, "3"))
    client.set_registered_model_alias(NAME, "shadow", "4")
    found = collected(stores, upkeep)
    assert labels(found) == ["trial-0004"]
    told = [why(found, trial) for trial in swept.trials[:4]]
    aliases = ("previous", "champion", "challenger", "shadow")
    assert told == [(f"alias {NAME}@{alias}",) for alias in aliases]


@pytest.mark.parametrize(("keep", "gone"), [(0, [0, 1, 2]), (3, [0, 1]), (4, [0])])
def test_the_last_champions_stay(stores, upkeep, swept, keep, gone) -> None:
    swept.crown(0, 1, 2, 3, 4)
    found = collected(stores, upkeep, keep)
    assert labels(found) == [f"trial-{number:04d}" for number in gone]


def test_a_champion_of_long_ago_that_came_back_is_among_the_last(stores, upkeep, swept) -> None:
    swept.crown(0, 1, 2, 0, 3, 4)
    assert labels(collected(stores, upkeep, 3)) == ["trial-0001", "trial-0002"]


def test_finalists_stay(stores, upkeep, swept) -> None:
    begun = start(7)
    again = TrialStart(0, Role.FINALIST, begun.arm, begun.recipe, begun.fingerprint)
    finalist = run_trial(stores, swept.opened, again, 0.01)
    found = collected(stores, upkeep)
    assert "a finalist of the newest sweep of support-search" in why(found, finalist)


def test_an_older_sweep_keeps_only_what_is_reused_as_the_best(stores, upkeep, swept) -> None:
    newer = stores.ledger.begin(sweep(trials=9))
    reused = stores.ledger.find("support-search", swept.trials[2].fingerprint)
    begun = start(2)
    run_id = stores.ledger.start(newer, dataset(), begun)
    stores.ledger.finish(run_id, begun, TrialEnd(Completed(), 0.0, reused=reused))
    stores.ledger.end(newer, "FINISHED", {})
    found = collected(stores, upkeep)
    assert "trial-0005" in labels(found)
    assert "trial-0002" not in labels(found)


def test_a_running_sweep_keeps_all_of_its_models(stores, upkeep, swept) -> None:
    stores.ledger.resume(swept.opened)
    found = collected(stores, upkeep)
    assert found.models == ()
    assert why(found, swept.trials[0])[0] == "its sweep is running"
    stores.ledger.end(swept.opened, "FINISHED", {})
    assert len(collected(stores, upkeep, delete=False).models) == 5


def test_an_experiment_that_a_process_works_on_keeps_all_of_its_models(
    stores, upkeep, swept
) -> None:
    with lock_sweep(stores.folder / "locks", "support-search"):
        found = collected(stores, upkeep)
    assert found.models == ()
    assert "a process of this machine works on" in why(found, swept.trials[0])[0]


def test_no_sweep_begins_while_models_go(stores, upkeep, swept, monkeypatch) -> None:
    held = []

    def watched(model: KeptModel, at: str) -> None:
        with upkeep.hold("support-search") as is_free:
            held.append(is_free)

    monkeypatch.setattr(upkeep, "remove", watched)
    collected(stores, upkeep)
    assert held == [False] * 5
    with upkeep.hold("support-search") as is_free:
        assert is_free


def test_what_other_programs_made_or_registered_stays(stores, upkeep, swept, tmp_path) -> None:
    client = stores.ledger.client
    trial, theirs = swept.trials[0], "not-ours"
    client.create_registered_model(theirs)
    model_id = str(trial.model_reference).removeprefix("models:/")
    source = client.get_logged_model(model_id).artifact_location
    client.create_model_version(theirs, source)
    ours = client.get_experiment_by_name("support-search").experiment_id
    foreign = client.create_logged_model(ours, "foreign")
    client.log_model_artifacts(foreign.model_id, str(write_model(tmp_path / "f")))
    found = collected(stores, upkeep)
    assert why(found, trial) == (f"{theirs}/1, which another program registered",)
    everything = [*found.models, *(model for model, _ in found.needed)]
    assert "foreign" not in [model.label for model in everything]
    assert list(stores.folder.rglob(foreign.model_id))


def test_an_address_that_is_not_the_model_s_own_is_left_alone(stores, swept, tmp_path) -> None:
    client = stores.ledger.client
    model = client.get_logged_model(str(swept.trials[0].model_reference).removeprefix("models:/"))
    mine = tmp_path / "mine"
    mine.mkdir()
    model._artifact_location = mine.as_uri()
    with pytest.raises(DataError, match="does not hold the model's own name"):
        remove_model_files(client, model)
    assert mine.is_dir()


def test_it_goes_on_where_it_broke_off(stores, upkeep, swept, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr("embedsweep.stores.mlflow_upkeep.remove_model_files", broken)
        with pytest.raises(StoreError, match="the disk went away"):
            collected(stores, upkeep)
    # Marked already: it is told as collected, not as damaged, and not reused.
    assert stores.ledger.find("support-search", swept.trials[0].fingerprint) is None
    assert has_files(stores, swept.trials[0])
    assert len(collected(stores, upkeep).models) == 5
    assert not has_files(stores, swept.trials[0])


def test_a_record_that_was_tampered_with_stops_it(stores, upkeep, swept) -> None:
    swept.crown(0, 1)
    client = stores.ledger.client
    tags = client.get_registered_model(NAME).tags
    entry = next(name for name in sorted(tags) if name.startswith("embedsweep.record."))
    client.set_registered_model_tag(NAME, entry, tags[entry].replace("tester", "nobody"))
    with pytest.raises(DataError, match="edited by hand"):
        collected(stores, upkeep)
    assert all(has_files(stores, trial) for trial in swept.trials)


WORKER = """
import signal, sys
from pathlib import Path
from embedsweep.stores.workspace import work_folder
with work_folder(Path(sys.argv[1])) as mine:
    (mine / "half").write_text("x" * 1000)
    print("ready", flush=True)
    signal.pause()
"""


def test_a_dead_process_s_folder_goes_and_a_living_one_s_stays(stores, upkeep) -> None:
    folder = stores.folder / "work"
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (folder / "somebody-else-s").mkdir()
    with work_folder(folder) as mine:
        assert leftover_folders(folder) == []
        assert collected(stores, upkeep).leftovers == ()
        process.kill()
        process.communicate()
        [left] = collected(stores, upkeep, delete=False).leftovers
        assert left.size == 1000
        assert left.path.is_dir()
        assert collected(stores, upkeep).size == 1000
        assert mine.is_dir()
    assert [path.name for path in folder.iterdir()] == ["somebody-else-s"]


def test_the_command_shows_first_and_removes_when_told(stores, swept, capsys) -> None:
    settings = stores.folder.parent / "stores.env"
    settings.write_text(
        "MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db\nEMBEDSWEEP_HOME=store\n"
        "EMBEDSWEEP_ARTIFACTS=store/artifacts\nEMBEDSWEEP_STUDY_URL=sqlite:///store/study.db\n"
    )
    words = ["gc", "--stores", str(settings)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "5 models and 0 leftover folders would be removed" in shown.out
    assert "gc --delete" in shown.err
    assert has_files(stores, swept.trials[0])
    assert main([*words, "--json", "--delete", "--keep", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["deleted"] is True
    assert document["bytes"] == sum(row["bytes"] for row in document["models"]) > 0
    assert {row["trial"] for row in document["needed"]} == {"baseline-0000", "trial-0005"}
    assert not has_files(stores, swept.trials[0])
    assert main([*words, "--keep", "-1"]) == 2
    assert "≥ 0" in capsys.readouterr().err


def test_half_kept_models_go(stores, upkeep, swept, tmp_path) -> None:
    client = stores.ledger.client
    of_trial = client.get_logged_model(
        str(swept.trials[0].model_reference).removeprefix("models:/")
    )
    half = client.create_logged_model(
        of_trial.experiment_id, "trial-0009", of_trial.source_run_id, tags=dict(of_trial.tags)
    )
    client.log_model_artifacts(half.model_id, str(write_model(tmp_path / "half")))
    found = collected(stores, upkeep)
    assert "trial-0009" in labels(found)
    assert str(client.get_logged_model(half.model_id).status) == "FAILED"
    assert not list(stores.folder.rglob(half.model_id))
