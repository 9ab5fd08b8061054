"""The data section: data sets of the hub, folders, and the scale of scores."""

from __future__ import annotations

import pytest

from embedsweep.config import load_experiment
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import DataSpec
from tests.unit.test_config_experiment import SMALL


def test_a_data_set_of_the_hub_and_its_scale(tmp_path):
    data = "{hf: acme/tickets, revision: '0123', subset: fine, format: scored, score_range: [0, 5]}"
    path = tmp_path / "experiment.yaml"
    path.write_text(SMALL.replace("{builtin: python-docs}", data))
    expected = DataSpec(
        "tickets",
        hf="acme/tickets",
        revision="0123",
        subset="fine",
        format="scored",
        score_range=(0.0, 5.0),
    )
    assert load_experiment(path).data == expected
    (tmp_path / "acme" / "tickets").mkdir(parents=True)  # a folder beside the file comes first
    assert load_experiment(path).data.hf == str(tmp_path / "acme" / "tickets")


def test_a_folder_to_train_on_needs_no_shares(tmp_path):
    (tmp_path / "saved").mkdir()
    path = tmp_path / "experiment.yaml"
    path.write_text(SMALL.replace("{builtin: python-docs}", "{train: saved}"))
    assert load_experiment(path).data == DataSpec("saved", train=tmp_path / "saved")


@pytest.mark.parametrize(
    ("data", "what", "why"),
    [
        ("{hf: o/n, train: a}", "data.train", "hf and train given"),
        ("{train: a, revision: main}", "data.revision", "it belongs to hf"),
        ("{hf: o/n, valid: v}", "data.valid", "it belongs to train"),
        ("{hf: o/n, score_range: 5}", "data.score_range", "5, expected the lowest and the highest"),
        ("{hf: o/n, score_range: [5, 0]}", "data.score_range", "[5, 0], expected"),
        ("{hf: o/n, score_range: [0, .inf]}", "data.score_range", "expected the lowest"),
        ("{hf: o/n, score_range: [false, true]}", "data.score_range", "expected the lowest"),
        (
            "{hf: o/n, format: pairs, score_range: [0, 5]}",
            "data.score_range",
            "pairs data has no scores",
        ),
    ],
)
def test_keys_that_do_not_suit_the_source_are_faults(tmp_path, data, what, why):
    path = tmp_path / "experiment.yaml"
    path.write_text(SMALL.replace("{builtin: python-docs}", data))
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    found = [fault for fault in caught.value.faults if fault.what == what]
    assert [fault.line for fault in found] == [2]
    assert why in found[0].why
    assert found[0].fix
