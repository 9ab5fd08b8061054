"""The model card: what is on it, with a decision and without."""

from __future__ import annotations

from dataclasses import replace

import yaml

from embedsweep.core.losses import MetricDifference
from embedsweep.core.recipe import AdapterRecipe, BaselineRecipe, FileForm, Head, HostedRecipe, Loss
from embedsweep.core.report import HEADLINE, Measure
from embedsweep.core.trial import Completed, Role, Trial
from embedsweep.reporting.model_card import model_card
from tests.contract.store_cases import decision, start

MOST = 5000
"""Characters that MLflow's databases hold of a version's description."""

TRIAL = Trial(
    number=7,
    role=Role.TRIAL,
    arm="local",
    recipe=start().recipe,
    fingerprint="f" * 64,
    outcome=Completed(),
    metrics={"valid/ndcg_at_10": 0.61234, "valid/accuracy": 0.5},
    run_id="a" * 32,
)
ORIGIN = {
    "experiment": "support-search",
    "base_model": {"model": "all-MiniLM-L6-v2", "digest": "d" * 64, "commit": "c" * 40},
    "data": {
        "name": "tickets",
        "format": "pairs",
        "splits": {"train": {"sha256": "1" * 64, "rows": 400}},
    },
    "code": {"commit": "b" * 40, "dirty": True},
}


def test_the_card_in_a_folder_says_where_the_model_comes_from() -> None:
    card = model_card(TRIAL, provenance=ORIGIN)
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "sentence-transformers"
    for told in (
        "# trial 7",
        "fine-tuned",
        "triplet",
        "learning_rate 0.0001",
        "| valid/ndcg_at_10 | 0.6123 |",
        f"| train | 400 | `{'1' * 64}` |",
        f"digest `{'d' * 64}`, commit `{'c' * 40}`",
        f"commit: `{'b' * 40}`, with changes",
        'SentenceTransformer("model.sentence_transformer")',
        f"embedsweep embed runs:/{'a' * 32}",
        "canaries.json",
    ):
        assert told in body, told
    assert "Evidence" not in body


def test_the_card_of_a_version_has_the_evidence_and_no_lines_for_the_hub() -> None:
    made = replace(decision("support"), version=3)
    card = model_card(TRIAL, made)
    assert card.startswith("# support version 3: trial 7")
    for told in ("**promoted**", "+0.1000", "0.05", "p (one-sided) | 0.001", "embedsweep serve"):
        assert told in card, told
    assert "- gain +0.1000" in card
    assert "| mrr@10 | 0.7000 | 0.6000 | +0.1000, +0.0500 to +0.1500 |" in card
    assert "models:/support/3" in card


def test_a_description_fits_whatever_the_reasons() -> None:
    measures = {f"valid/precision_at_{k}": 0.5 for k in range(20)}
    plain = decision("s" * 100)
    assert plain.comparison is not None
    rows = [
        MetricDifference(Measure.parse(name), 0.5, 0.6, (-0.2, -0.1), 900, 800, 0.001, "off")
        for names in HEADLINE.values()
        for name in names
    ]
    compared = replace(plain.comparison, differences=tuple(rows))
    reasons = ("because " * 100,) * 40
    wordy = replace(plain, comparison=compared, version=3, reasons=reasons)
    assert len(model_card(replace(TRIAL, metrics=measures), wordy)) < MOST
    # The control: the reasons alone would not.
    assert len("".join(wordy.reasons)) > MOST


def test_models_without_weights_say_what_they_stand_on() -> None:
    common = {"epochs": 2, "batch_size": 8, "seed": 1}
    adapter = AdapterRecipe(
        base_model="small", head=Head.LINEAR, loss=Loss.COSENT, learning_rate=1e-2, **common
    )
    hosted = HostedRecipe(
        base_model="small",
        provider="http://h/v1",
        form=FileForm.PAIRS,
        learning_rate_multiplier=1.0,
        **common,
    )
    for recipe, told in ((adapter, "A small head"), (hosted, "its provider holds")):
        card = model_card(replace(TRIAL, recipe=recipe), provenance=ORIGIN)
        assert told in card
        assert "SentenceTransformer(" not in card
        assert "library_name" not in card
        assert "works as long as the model it stands on" in card


def test_a_hub_model_is_named_as_the_base_and_a_folder_is_not() -> None:
    for name, is_named in (("owner/model", True), ("/srv/model", False)):
        recipe = BaselineRecipe(method="untuned", base_model=name)
        front = model_card(replace(TRIAL, recipe=recipe), provenance=ORIGIN).split("---\n")[1]
        assert (yaml.safe_load(front).get("base_model") == name) is is_named


def test_the_card_states_the_scale_of_the_scores() -> None:
    told = "The scale of the scores is 0 to 5."
    scored = {**ORIGIN, "data": {**ORIGIN["data"], "score_range": (0.0, 5.0)}}
    assert told in model_card(TRIAL, provenance=scored)
    assert told not in model_card(TRIAL, provenance=ORIGIN)
