"""`embedsweep doctor`: what is sound is told as sound, and each thing that is not by its fix."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.cli import main
from embedsweep.core.errors import UserError
from embedsweep.stores.mlflow_run import Tag
from embedsweep.stores.mlflow_upkeep import MlflowUpkeep
from embedsweep.stores.owner import Owner
from embedsweep.wiring.soundness import unfit_packages
from embedsweep.workflows.examine import examine
from tests.conftest import ROOT
from tests.contract.store_cases import (
    Stores,
    dataset,
    decision,
    open_stores,
    run_trial,
    start,
    sweep,
    write_model,
)

NAME = "support"


@pytest.fixture
def stores(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Two champions, one after the other, both decisions on record."""
    stores = open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp())
    opened = stores.ledger.begin(sweep())
    before = None
    for number in (0, 1):
        version = stores.registry.publish(NAME, run_trial(stores, opened, start(number)))
        made = replace(
            decision(NAME),
            version=version.number,
            previous_version=before.number if before else None,
            champion_version=version.number,
            candidate_fingerprint=version.fingerprint,
            rival_fingerprint=before.fingerprint if before else "",
        )
        stores.registry.crown(version, before.number if before else None, made)
        before = version
    stores.ledger.end(opened, "FINISHED", {})
    return stores


def findings(stores: Stores) -> list[UserError]:
    client = stores.ledger.client  # type: ignore[attr-defined]
    work = stores.folder / "examined"
    work.mkdir()
    upkeep = MlflowUpkeep(client, stores.folder / "locks", stores.folder / "work")
    found = examine(stores.registry, upkeep, work)
    assert list(work.iterdir()) == []
    return found


def test_what_is_sound_gives_no_finding(stores: Stores) -> None:
    assert findings(stores) == []


def flip(stores: Stores) -> None:
    version = stores.registry.resolve(NAME)
    assert version is not None
    path = next(stores.model_folder(version.model_reference).rglob("model.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def lose_files_of_previous(stores: Stores) -> None:
    version = stores.registry.resolve(NAME, "previous")
    assert version is not None
    shutil.rmtree(stores.model_folder(version.model_reference))


def edit_record(stores: Stores) -> None:
    client = stores.ledger.client
    tags = client.get_registered_model(NAME).tags
    entry = next(name for name in sorted(tags) if name.startswith("embedsweep.record."))
    client.set_registered_model_tag(NAME, entry, tags[entry].replace("tester", "nobody"))


def move_alias(stores: Stores) -> None:
    stores.ledger.client.set_registered_model_alias(NAME, "champion", "1")


def edit_tag(stores: Stores) -> None:
    stores.ledger.client.set_model_version_tag(NAME, "2", Tag.MANIFEST, "0" * 64)


def delete_run(stores: Stores) -> None:
    stores.ledger.client.delete_run(stores.registry.resolve(NAME).run_id)


def delete_model(stores: Stores) -> None:
    """As `mlflow gc` leaves it."""
    reference = stores.registry.resolve(NAME).model_reference
    stores.ledger.client.delete_logged_model(reference.removeprefix("models:/"))


def leave_running(stores: Stores) -> None:
    opened = stores.ledger.latest("support-search")
    run_id = stores.ledger.start(opened, dataset(), start(5))
    dead = replace(Owner.here(), pid=2**22 - 1, started="long ago")
    stores.ledger.client.set_tag(run_id, Tag.OWNER, str(dead))


def break_off(stores: Stores) -> None:
    client = stores.ledger.client
    reference = stores.registry.resolve(NAME).model_reference
    whole = client.get_logged_model(reference.removeprefix("models:/"))
    tags = {Tag.FINGERPRINT: "f"}
    half = client.create_logged_model(
        whole.experiment_id, "trial-0009", whole.source_run_id, tags=tags
    )
    client.log_model_artifacts(half.model_id, str(write_model(stores.folder.parent / "half")))
    client.finalize_logged_model(half.model_id, "FAILED")


@pytest.mark.parametrize(
    ("spoil", "said", "fix"),
    [
        (flip, "model.safetensors in models:/support/2: its SHA-256", "restore"),
        (lose_files_of_previous, "manifest.json in models:/support/1: it is missing", "restore"),
        (edit_record, "edited by hand", "restore the store from a backup"),
        (
            move_alias,
            "points to version 1, and the last decision on record says version 2",
            "rollback",
        ),
        (edit_tag, "published was 0000", "restore"),
        (delete_run, "in models:/support/2: run .* is deleted", "mlflow runs restore"),
        (delete_model, "files of the champion in models:/support/2: .*not found", "roll back"),
        (leave_running, "run trial-0005-.*stands as running, and process", "sweep experiment"),
        (break_off, "model of trial-0009 in .*broke off", "gc --delete"),
    ],
)
def test_each_thing_that_is_not_sound_is_told_with_its_fix(
    stores: Stores, spoil: Callable[[Stores], None], said: str, fix: str
) -> None:
    spoil(stores)
    found = [finding for finding in findings(stores) if re.search(said, str(finding))]
    assert len(found) == 1
    assert fix in str(found[0]).split("Fix: ")[1]
    assert found[0].exit_code == 3


def test_a_run_of_a_living_process_or_of_another_machine_is_no_finding(stores: Stores) -> None:
    opened = stores.ledger.latest("support-search")
    for number, owner in enumerate((Owner.here(), replace(Owner.here(), host="elsewhere", pid=1))):
        run_id = stores.ledger.start(opened, dataset(), start(5 + number))
        stores.ledger.client.set_tag(run_id, Tag.OWNER, str(owner))
    assert findings(stores) == []


@pytest.fixture
def words(stores: Stores) -> list[str]:
    settings = stores.folder.parent / "stores.env"
    settings.write_text(
        "MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db\nEMBEDSWEEP_HOME=store\n"
        "EMBEDSWEEP_ARTIFACTS=store/artifacts\nEMBEDSWEEP_STUDY_URL=sqlite:///store/study.db\n"
    )
    return ["doctor", "--stores", str(settings)]


def test_the_command_ends_with_the_gravest_code(stores, words, capsys) -> None:
    assert main(words) == 0
    assert "all is sound" in capsys.readouterr().out
    move_alias(stores)
    assert main([*words, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] is False
    assert document["packages"].keys() > {"embedsweep", "torch"}
    assert document["stores"].keys() == {"runs", "models", "studies", "artifacts", "home"}
    [finding] = document["findings"]
    assert finding.keys() == {"what", "where", "line", "why", "fix", "count"}
    (stores.folder / "study.db").write_text("this is no database, and long enough to be read")
    assert main(words) == 4
    told = capsys.readouterr()
    assert "error: alias champion" in told.err
    assert "error: database of the studies" in told.err
    assert "2 findings" in told.out


def test_a_store_out_of_reach_is_a_finding_beside_the_others(tmp_path: Path, capsys) -> None:
    settings = tmp_path / "stores.env"
    settings.write_text(
        "MLFLOW_TRACKING_URI=http://127.0.0.1:9\nEMBEDSWEEP_HOME=home\n"
        "EMBEDSWEEP_STUDY_URL=postgresql://nobody@127.0.0.1:9/none\n"
    )
    assert main(["doctor", "--stores", str(settings), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert [finding["what"] for finding in told["findings"]] == [
        "failure to connect to the database",
        "failure to reach the tracking server",
    ]


def test_packages_that_are_too_old_too_new_or_missing_are_told() -> None:
    bounds = ["numpy>=1.0", "mlflow>=99.1", "torch<2,>=1.0", "no-such-package>=1", "pip"]
    asked = [*bounds, 'ruff>=99; extra == "dev"', "uvicorn[standard]>=0.1"]
    told = [str(fault) for fault in unfit_packages(asked)]
    assert [line.split(" in ")[0] for line in told] == [
        "error: package mlflow",
        "error: package torch",
        "error: package no-such-package",
    ]
    assert "expected >=99.1. Fix: run `pip install 'mlflow>=99.1'`" in told[0]
    assert "it is not installed, expected >=1" in told[2]


def test_pyproject_asks_for_what_is_safe_to_open_models_with() -> None:
    """The floors below which opening a model may run code of its own; doctor reads these bounds."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    floors = {}
    for text in asked:
        name, _, bound = text.partition(">=")
        floors[name] = tuple(int(part) for part in bound.split(",")[0].split("."))
    assert floors["sentence-transformers"] >= (6, 0)
    assert floors["transformers"] >= (5, 3)
    assert floors["torch"] >= (2, 6)
    assert floors["mlflow"] >= (3, 17)
    assert list(unfit_packages(asked)) == []
