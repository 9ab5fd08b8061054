"""What every registry owes, asked of the twin in memory and of MLflow."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import pytest
from safetensors.numpy import load_file

from embedsweep.core.errors import DataError, Refusal, StoreError, UsageError
from embedsweep.core.ports import TrialEnd
from embedsweep.core.promotion import Verdict
from embedsweep.core.trial import Completed, Trial
from embedsweep.stores.manifest import MANIFEST_FILE, SENTENCE_TRANSFORMERS_FOLDER
from embedsweep.stores.memory import MemoryRegistry
from tests.contract.store_cases import (
    STORES,
    dataset,
    decision,
    look_request,
    open_stores,
    run_trial,
    start,
    sweep,
)


@pytest.fixture(params=STORES)
def stores(request, tmp_path, tmp_path_factory):
    return open_stores(request.param, tmp_path / "store", tmp_path_factory.getbasetemp(), page=2)


@pytest.fixture
def registry(stores):
    return stores.registry


@pytest.fixture
def opened(stores):
    return stores.ledger.begin(sweep())


@pytest.fixture
def trials(stores, opened):
    return [run_trial(stores, opened, start(number)) for number in range(3)]


@pytest.fixture
def kept(stores, opened):
    """A published version and the folder its files lie in."""
    version = stores.registry.publish("support", run_trial(stores, opened, start()))
    return version, stores.model_folder(version.model_reference)


def test_a_version_says_which_trial_it_is(registry, trials):
    version = registry.publish("support", trials[0])
    assert (version.name, version.number) == ("support", 1)
    assert version.run_id == trials[0].run_id
    assert version.fingerprint == trials[0].fingerprint
    assert version.model_reference == trials[0].model_reference
    assert len(version.manifest_digest) == 64
    assert registry.resolve("support", "1") == version


def test_the_same_trial_gives_the_same_version_again(registry, trials):
    first = registry.publish("support", trials[0])
    second = registry.publish("support", trials[1])
    third = registry.publish("support", trials[2])
    assert [version.number for version in (first, second, third)] == [1, 2, 3]
    assert registry.publish("support", trials[0]) == first
    assert registry.publish("support", trials[2]) == third
    assert registry.publish("other", trials[0]).number == 1


def test_a_reused_trial_gives_the_version_of_its_equal(stores, registry, opened, trials):
    first = registry.publish("support", trials[0])
    again = replace(start(0), number=9)
    run_id = stores.ledger.start(opened, dataset(), again)
    end = TrialEnd(Completed(), 0.0, reused=trials[0])
    assert registry.publish("support", stores.ledger.finish(run_id, again, end)) == first
    assert registry.publish("other", stores.ledger.finish(run_id, again, end)).run_id == (
        trials[0].run_id
    )


def test_a_trial_without_a_model_cannot_be_published(registry, trials):
    with pytest.raises(DataError, match="no model"):
        registry.publish("support", replace(trials[0], model_reference=None))


def test_what_is_not_there_resolves_to_none(registry, trials):
    assert registry.resolve("support") is None
    registry.publish("support", trials[0])
    assert registry.resolve("support") is None
    assert registry.resolve("support", "2") is None
    assert registry.resolve("support", "999999999") is None
    assert registry.resolve("support", "challenger") is None
    assert registry.resolve("unknown", "1") is None


@pytest.mark.parametrize("name", ["", "a/b", "a:b", ".", "..", "x" * 101, "a b", "a\n"])
def test_a_bad_model_name_is_refused_with_the_rule(registry, name):
    begun = start()
    trial = Trial(0, begun.role, "local", begun.recipe, begun.fingerprint, Completed())
    for call in (registry.resolve, registry.history):
        with pytest.raises(UsageError, match="1 to 100 of the characters"):
            call(name)
    with pytest.raises(UsageError, match="1 to 100 of the characters"):
        registry.publish(name, trial)
    with pytest.raises(UsageError, match="1 to 100 of the characters"):
        registry.record(decision(name))


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v3", "V12", "../x", "a.b", "x" * 256])
def test_a_bad_alias_is_refused_with_the_rule(registry, alias):
    with pytest.raises(UsageError, match="not 'latest'"):
        registry.resolve("support", alias)


def test_crowning_moves_champion_and_remembers_the_previous(registry, trials):
    first, second, third = (registry.publish("support", trial) for trial in trials)
    registry.crown(first, None)
    assert registry.resolve("support") == first
    assert registry.resolve("support", "previous") is None
    registry.crown(second, 1)
    registry.crown(third, 2)
    assert registry.resolve("support") == third
    assert registry.resolve("support", "previous") == second
    registry.crown(second, 3)
    assert registry.resolve("support") == second
    assert registry.resolve("support", "previous") == third


def test_crowning_the_champion_again_changes_nothing(registry, trials):
    first, second = (registry.publish("support", trial) for trial in trials[:2])
    registry.crown(first, None)
    registry.crown(second, 1)
    registry.crown(second, 2)
    assert registry.resolve("support", "previous") == first


def test_a_champion_that_changed_meanwhile_is_not_replaced(registry, trials):
    first, second, third = (registry.publish("support", trial) for trial in trials)
    registry.crown(first, None)
    registry.crown(second, 1)
    with pytest.raises(Refusal, match=r"champion changed under us \(1→2\)"):
        registry.crown(third, 1)
    with pytest.raises(Refusal, match=r"champion changed under us \(none→2\)"):
        registry.crown(third, None)
    assert registry.resolve("support") == second


def test_a_challenger_is_not_champion(registry, trials):
    first, second = (registry.publish("support", trial) for trial in trials[:2])
    registry.crown(first, None)
    registry.challenge(second)
    assert registry.resolve("support", "challenger") == second
    assert registry.resolve("support") == first


def test_looks_are_counted_over_all_names_and_spend_less_and_less(registry):
    first = registry.look(look_request("support", candidate="a"))
    second = registry.look(look_request("other", candidate="b"))
    elsewhere = registry.look(look_request("support", benchmark="f", candidate="a"))
    assert [look.number for look in (first, second, elsewhere)] == [1, 2, 1]
    assert [look.alpha for look in (first, second, elsewhere)] == [0.025, 0.0125, 0.025]
    assert registry.looks("support") == [first, elsewhere]
    assert registry.looks("other") == [second]
    assert registry.looks("nobody") == []


def test_a_look_not_decided_is_given_again_and_spends_nothing(registry):
    look = registry.look(look_request("support"))
    later = replace(look_request("support"), at="2027-01-01T00:00:00+00:00", by="another")
    assert registry.look(later) == look
    assert registry.looks("support") == [look]


def test_a_spent_test_split_refuses_and_records_nothing(registry):
    for number in range(5):
        registry.look(look_request("support", candidate=str(number)))
    with pytest.raises(Refusal, match=r"5 candidates were judged .* 0\.04844 of 0\.05 is spent"):
        registry.look(look_request("support", candidate="5"))
    assert len(registry.looks("support")) == 5


def test_a_version_is_described_by_the_last_word_on_it(registry, trials):
    version = registry.publish("support", trials[0])
    registry.describe(version, "# A card")
    registry.describe(version, "# Another")
    if isinstance(registry, MemoryRegistry):
        told = registry.descriptions["support", 1]
    else:
        told = registry.client.get_model_version("support", "1").description
    assert told == "# Another"


def test_history_grows_and_keeps_its_order(registry):
    assert registry.history("support") == []
    looks = [decision("support", look) for look in range(1, 13)]
    for made in looks:
        registry.record(made)
    registry.record(decision("other", verdict=Verdict.REFUSED))
    assert registry.history("support") == looks
    assert registry.history("other")[0].verdict is Verdict.REFUSED


def test_names_are_sorted(registry, trials):
    assert registry.names() == []
    for name in ("c", "b", "a"):
        registry.publish(name, trials[0])
    registry.record(decision("d"))
    assert registry.names() == ["a", "b", "c", "d"]


def test_a_fetched_model_is_what_the_backend_left(stores, registry, kept, tmp_path):
    version, _ = kept
    registry.crown(version, None)
    references = (version.model_reference, "models:/support/1", "models:/support@champion")
    for number, reference in enumerate(references):
        folder = registry.fetch(reference, tmp_path / str(number))
        assert folder == tmp_path / str(number) / SENTENCE_TRANSFORMERS_FOLDER
        assert json.loads((folder / "config.json").read_text())["seed"] == 0
        assert load_file(folder / "model.safetensors")["embeddings"].shape == (4, 256)
        assert (folder / "1_Pooling" / "config.json").is_file()
    registry.fetch(references[0], tmp_path / "given", version.manifest_digest)


@pytest.mark.parametrize(
    "reference",
    ["models:/support/9", "models:/support@previous", "models:/unknown/1", f"models:/m-{'0' * 32}"],
)
def test_a_model_that_is_not_there_cannot_be_fetched(registry, kept, tmp_path, reference):
    with pytest.raises(StoreError):
        registry.fetch(reference, tmp_path / "fetched")


@pytest.mark.parametrize(
    "reference",
    [
        "runs:/abc",
        "models:/",
        "models:/support@",
        "models:/a/b/c",
        "support",
        "models:/../../etc",
    ],
)
def test_a_reference_of_another_form_is_refused(registry, tmp_path, reference):
    with pytest.raises(UsageError):
        registry.fetch(reference, tmp_path / "fetched")


def test_a_model_goes_into_an_empty_folder_only(registry, kept, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not empty"):
        registry.fetch(kept[0].model_reference, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_another_manifest_than_the_one_asked_for_is_refused(registry, kept, tmp_path):
    with pytest.raises(DataError, match="published was 0000"):
        registry.fetch(kept[0].model_reference, tmp_path / "fetched", "0" * 64)


def test_every_flipped_byte_is_noticed(registry, kept, tmp_path):
    version, folder = kept
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = random.Random(1)
    for attempt in range(30):
        path = files[attempt % len(files)]
        content = bytearray(path.read_bytes())
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        original = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(DataError, match="SHA-256"):
            registry.fetch("models:/support/1", tmp_path / "fetched", version.manifest_digest)
        assert not (tmp_path / "fetched").exists()
        path.write_bytes(original)
    registry.fetch("models:/support/1", tmp_path / "fetched")


def test_without_the_manifest_a_flipped_weight_would_load(kept):
    """The control: the format of the weights does not notice."""
    _, folder = kept
    path = folder / SENTENCE_TRANSFORMERS_FOLDER / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert load_file(path)["embeddings"].shape == (4, 256)


def _remove(folder):
    (folder / "README.md").unlink()


def _add(folder):
    (folder / "extra.json").write_text("{}")


def _rename(folder):
    (folder / "README.md").rename(folder / "READ.md")


def _add_code(folder):
    (folder / "evil.py").write_text("raise SystemExit\n")


def _add_pickle(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _link_file(folder):
    outside = folder.parent.parent / "outside.json"
    shutil.move(folder / "config.json", outside)
    (folder / "config.json").symlink_to(outside)


def _link_folder(folder):
    outside = folder.parent.parent / "outside"
    shutil.move(folder / "1_Pooling", outside)
    (folder / "1_Pooling").symlink_to(outside)


def _lose_manifest(folder):
    (folder.parent / MANIFEST_FILE).unlink()


def _edit_manifest(folder):
    """A file changed, and the manifest with it: only the registry knows better."""
    (folder / "config.json").write_text('{"auto_map": "evil"}')
    manifest = folder.parent / MANIFEST_FILE
    rows = [row for row in json.loads(manifest.read_text()) if "config.json" not in row["path"]]
    manifest.write_text(json.dumps(rows))


def _lose_everything(folder):
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (_remove, "README.md"),
        (_add, "extra.json"),
        (_rename, "READ.md"),
        (_add_code, "evil.py"),
        (_add_pickle, "pytorch_model.bin"),
        (_link_file, "config.json"),
        (_link_folder, "1_Pooling"),
        (_lose_manifest, MANIFEST_FILE),
        (_edit_manifest, MANIFEST_FILE),
        (_lose_everything, MANIFEST_FILE),
    ],
)
def test_a_model_tampered_with_is_refused_by_the_file_s_name(
    registry, kept, tmp_path, tamper, named
):
    version, folder = kept
    registry.fetch("models:/support/1", tmp_path / "before")
    tamper(folder / SENTENCE_TRANSFORMERS_FOLDER)
    for reference in ("models:/support/1", version.model_reference):
        with pytest.raises(DataError, match=named) as caught:
            registry.fetch(reference, tmp_path / "after")
        assert "Fix: " in str(caught.value)
        assert not (tmp_path / "after").exists()
