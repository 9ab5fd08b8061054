"""Every fault of an experiment file names its line, the value seen, the value expected, the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import load_experiment
from embedsweep.config.translation import SECTIONS
from embedsweep.core.errors import UsageError
from embedsweep.core.recipe import Loss
from embedsweep.core.space import Arm, Choice, SearchSpace, Uniform

GOOD = """\
name: support
data:
  train: train.jsonl
  split: {valid: 0.2, test: 0.2}
objective: ndcg@10
guards:
  accuracy: -0.01
search:
  trials: 3
  sampler: tpe
  seed: 7
  arms:
    - backend: local
      base_model: base
      loss: [multiple_negatives_ranking]
      epochs: 1
      learning_rate: 1e-5
      batch_size: 32
budget: {minutes: 60}
promotion: {confidence: 0.95}
"""


def refusal(tmp_path: Path, text: str) -> UsageError:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_experiment(path, {})
    return caught.value


# Row: the good line, what stands there instead, the field at fault, and words of the message.
BAD = [
    ("name: support", "name: a/b", "name", ("a/b", "letters, digits")),
    ("name: support", "name: ..", "name", ("..",)),
    ("name: support", f"name: {'x' * 81}", "name", ("80",)),
    ("name: support", "name: 2024", "name", ("2024", "expected text", "in quotes")),
    ("name: support", "name: ", "name", ("no value, expected text",)),
    ("  train: train.jsonl", "  train: 5", "data.train", ("5, expected text",)),
    ("  train: train.jsonl", "  train: ${NOPE}/x", "data.train", ("NOPE", "${NOPE:-default}")),
    ("  train: train.jsonl", "  train: ${NO PE}", "data.train", ("close the brace",)),
    ("  train: train.jsonl", "  max_train: 0", "data.max_train", ("0, expected at least 1",)),
    ("  train: train.jsonl", "  builtin: mine", "data.builtin", ('"mine"', "python-docs")),
    ("  split: {valid: 0.2, test: 0.2}", "  format: pair", "data.format", ("write pairs",)),
    ("  split: {valid: 0.2, test: 0.2}", "  few_shot: 1.5", "data.few_shot", ("whole number",)),
    (
        "  split: {valid: 0.2, test: 0.2}",
        "  split: {valid: 0.6, test: 0.4}",
        "data.split.test",
        ("0.6", "0.4", "nothing to train on"),
    ),
    (
        "  split: {valid: 0.2, test: 0.2}",
        "  split: {valid: 0.2}",
        "data.split",
        ("test has neither a file nor a share", "test: 0.2 to data.split"),
    ),
    (
        "  split: {valid: 0.2, test: 0.2}",
        "  on_overlap: drop",
        "data.on_overlap",
        ("'error' or 'drop_from_train'",),
    ),
    (
        "  split: {valid: 0.2, test: 0.2}",
        "  columns: {positve: answer}",
        "unknown key data.columns.positve",
        ("did you mean positive?",),
    ),
    ("objective: ndcg@10", "objective: ndcg@0", "objective", ("ndcg@0", "mrr@k", "accuracy")),
    ("objective: ndcg@10", "objective: ndcg@abc", "objective", ("mean ndcg@10?", "recall@k")),
    ("objective: ndcg@10", "objective: NDGC@5", "objective", ("mean ndcg@5?",)),
    ("objective: ndcg@10", "objective: precise", "objective", ("mean precision@10?",)),
    ("objective: ndcg@10", "objective: [ndcg@10, map]", "objective", ("one measure is supported",)),
    ("objective: ndcg@10", "objective: macro_f1", "objective", ("no score per example",)),
    ("objective: ndcg@10", "objective: 5", "objective", ("5, expected a measure",)),
    ("  accuracy: -0.01", "  accuracy: 0.01", "guards.accuracy", ("0.01, expected at most 0",)),
    ("  accuracy: -0.01", "  acuracy: 0", "guards.acuracy", ("did you mean accuracy?",)),
    ("  trials: 3", "  trials: 0", "search.trials", ("0, expected at least 1",)),
    ("  trials: 3", "  trials: -3", "search.trials", ("-3, expected at least 1",)),
    ("  trials: 3", "  trials: abc", "search.trials", ('"abc", expected a number',)),
    ("  trials: 3", "  trails: 3", "unknown key search.trails", ("did you mean trials?",)),
    ("  sampler: tpe", "  sampler: tep", "search.sampler", ("write tpe", "'gp'")),
    ("  sampler: tpe", "  pruner: 5", "search.pruner", ("5 is unknown", "'hyperband'")),
    ("  sampler: tpe", "  direction: minimize", "unknown key search.direction", ("higher is",)),
    ("  seed: 7", "  seed: -1", "search.seed", ("-1, expected at least 0",)),
    ("  seed: 7", "  seed: 4294967296", "search.seed", ("expected below 4294967296",)),
    ("    - backend: local", "    - name: a.b", "search.arms[0].name", ("a.b",)),
    ("    - backend: local", "    - name: baseline", "search.arms[0].name", ("another name",)),
    (
        "    - backend: local",
        "    - backend: hostd",
        "search.arms[0].backend",
        ('"hostd" is no backend here, known are local, adapter, hosted', "write backend: hosted"),
    ),
    ("    - backend: local", "    - backend: [local]", "backend", ('["local"] is no backend',)),
    ("    - backend: local", "    - backend: {local: 1}", "backend", ("is no backend",)),
    ("    - backend: local", "    - backend: ", "backend", ("no value is no backend",)),
    ("      base_model: base", "      base_model: []", "search.arms[0].base_model", ("empty",)),
    ("      base_model: base", "      base_model: ''", "search.arms[0].base_model", ("text",)),
    (
        "      base_model: base",
        "      base_model: [a, a]",
        "search.arms[0].base_model",
        ('names "a" twice',),
    ),
    ("      loss: [multiple_negatives_ranking]", "      loss: tripelt", "", ("write triplet",)),
    ("      loss: [multiple_negatives_ranking]", "      loss: {low: 1, high: 2}", "", ("range",)),
    ("      loss: [multiple_negatives_ranking]", "      margin: 0.3", "", ("remove it", "triplet")),
    ("      epochs: 1", "      epochs: 1.5", "search.arms[0].epochs", ("1.5", "whole number")),
    ("      epochs: 1", "      epochs: true", "search.arms[0].epochs", ("true, expected",)),
    ("      epochs: 1", "      epochs: 0", "search.arms[0].epochs", ("0, expected at least 1",)),
    (
        "      epochs: 1",
        "      epochs: {low: 3, high: 1}",
        "search.arms[0].epochs.high",
        ("low is 3 and high is 1", "write low: 1 and high: 3"),
    ),
    (
        "      epochs: 1",
        "      epochs: {low: 2, high: 2}",
        "search.arms[0].epochs.high",
        ("low and high are both 2", "write the value itself, 2"),
    ),
    ("      epochs: 1", "      epochs: {low: 2}", "search.arms[0].epochs.high", ("missing",)),
    (
        "      epochs: 1",
        "      epochs: {low: 1, high: 2, lgo: true}",
        "unknown key search.arms[0].epochs.lgo",
        ("did you mean log?",),
    ),
    (
        "      epochs: 1",
        "      epochs: {low: 1, high: 2, log: yes}",
        "search.arms[0].epochs.log",
        ('"yes", expected true or false',),
    ),
    (
        "      epochs: 1",
        "      epochs: {low: 1, high: 2, log: true}",
        "search.arms[0].epochs",
        ("every one of them is measured", "remove log"),
    ),
    ("      learning_rate: 1e-5", "      learning_rate: abc", "", ('"abc", expected a number',)),
    ("      learning_rate: 1e-5", "      learning_rate: .nan", "", ("NaN, expected a finite",)),
    ("      learning_rate: 1e-5", "      learning_rate: .inf", "", ("finite number",)),
    ("      learning_rate: 1e-5", "      learning_rate: 1e999", "", ("finite number",)),
    ("      learning_rate: 1e-5", "      learning_rate: NaN", "", ('"NaN", expected a number',)),
    ("      learning_rate: 1e-5", "      learning_rate: 2e5", "", ("expected at most 1",)),
    ("      learning_rate: 1e-5", "      learning_rate: [1e-5, no]", "", ('"no", expected',)),
    (
        "      learning_rate: 1e-5",
        "      learning_rate: {low: 0, high: 1e-3, log: true}",
        "search.arms[0].learning_rate.low",
        ('0 in {"low": 0, "high": 0.001, "log": true}', "above 0"),
    ),
    (
        "      learning_rate: 1e-5",
        "      weight_decay: {low: 0, high: 0.1, log: true}",
        "search.arms[0].weight_decay.high",
        ("low is 0 and high is 0.1", "begin above 0"),
    ),
    (
        "      learning_rate: 1e-5",
        "      learnig_rate: 1e-5",
        "unknown key search.arms[0].learnig_rate",
        ("did you mean learning_rate?",),
    ),
    ("      learning_rate: 1e-5", "      lr: 1e-5", "", ("did you mean learning_rate?",)),
    ("      batch_size: 32", "      batch_size: 1", "", ("no negatives in a batch of 1",)),
    ("      batch_size: 32", "      batch_size: [1, 32]", "", ("no negatives in a batch of 1",)),
    ("      batch_size: 32", "      batch_size: {low: 1, high: 8}", "", ("no negatives in",)),
    ("      batch_size: 32", "      batch_size: 0", "", ("0, expected at least 1",)),
    ("      batch_size: 32", "      train_tokens: 2", "", ("2, expected at least 3",)),
    ("      batch_size: 32", "      mini_batch_size: 8", "", ("cached_multiple_negatives",)),
    ("budget: {minutes: 60}", "budget: {minutes: 0}", "budget.minutes", ("expected above 0",)),
    ("budget: {minutes: 60}", "budget: 60", "budget", ("60, expected keys with values",)),
    ("budget: {minutes: 60}", "budget: {money: 3}", "unknown key budget.money", ("disk_gb",)),
    ("budget: {minutes: 60}", "budget: {cost: 0}", "budget.cost", ("0, expected above 0",)),
    ("promotion: {confidence: 0.95}", "promotion: {confidence: 95}", "", ("expected below 1",)),
    ("promotion: {confidence: 0.95}", "promotion: {confidence: 0.5}", "", ("above 0.5",)),
    ("promotion: {confidence: 0.95}", "promotion: {min_gain: -1}", "", ("at least 0",)),
    ("promotion: {confidence: 0.95}", "promotion: {model: 'a b'}", "", ('"a b" is no name',)),
]


@pytest.mark.parametrize(("good", "bad", "what", "words"), BAD)
def test_a_bad_value_is_refused_where_it_stands(tmp_path, good, bad, what, words):
    text = GOOD.replace(f"{good}\n", f"{bad}\n")
    assert text != GOOD
    error = refusal(tmp_path, text)
    line = GOOD.splitlines().index(good) + 1
    found = [fault for fault in error.faults if what in fault.what and fault.line == line]
    assert error.exit_code == 2
    assert any(all(word in str(fault) for word in words) for fault in found), str(error)
    assert all(fault.where == str(tmp_path / "experiment.yaml") for fault in error.faults)
    assert all(fault.fix for fault in error.faults)


def test_the_file_the_table_spoils_is_good(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_experiment(path, {}).name == "support"


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_their_lines(tmp_path):
    text = """\
name: [a]
name: b
data: {train: train.jsonl, max_train: 0, split: {valid: 0.9, test: 0.9}}
objective: nothing
search:
  trials: !!python/name:os.system
  sampler: grid
  arms:
    - backend: local
      epochs: {low: 2, high: 1}
      batch_size: 1
      margin: 0.1
    - {backend: adapter, provider: x, base_url: y}
    - {backend: local, base_model: b, epochs: 2.5, learnig_rate: 1e-3}
budget: {disk: 5}
"""
    faults = refusal(tmp_path, text).faults
    arm, other = "search.arms[0]", "search.arms[2]"
    assert [(fault.line, fault.what) for fault in faults] == [
        (1, "name"),
        (2, "duplicate key name"),
        (3, "data.max_train"),
        (3, "data.split.test"),
        (4, "objective"),
        (6, "tag !!python/name:os.system"),
        (9, f"{arm}.base_model"),
        (9, f"{arm}.learning_rate"),
        (10, f"{arm}.epochs.high"),
        (11, f"{arm}.batch_size"),
        (12, f"{arm}.margin"),
        (13, "search.arms[1].base_model"),
        (13, "search.arms[1].learning_rate"),
        (13, "search.arms[1].provider"),
        (13, "search.arms[1].base_url"),
        (14, f"{other}.epochs"),
        (14, f"{other}.learning_rate"),
        (14, f"unknown key {other}.learnig_rate"),
        (15, "unknown key budget.disk"),
    ]


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_every_key_of_every_section_is_suggested_for_its_misspelling(tmp_path, section):
    for key in SECTIONS[section].model_fields:
        wrong = f"{key}x: 0"
        around = [f'"{name}"' for name in section]  # in quotes: a bare * is an alias
        text = ": {".join([*around, wrong]) + "}" * len(section)
        fixes = [fault.fix for fault in refusal(tmp_path, text).faults if "unknown" in fault.what]
        assert fixes == [f"did you mean {key}? Write {key}"]


def test_a_misspelt_key_is_not_also_reported_as_missing(tmp_path):
    misspelt = refusal(tmp_path, GOOD.replace("objective:", "objektive:")).faults
    assert [fault.what for fault in misspelt] == ["unknown key objektive"]
    dropped = refusal(tmp_path, GOOD.replace("objective: ndcg@10\n", "")).faults
    assert [(fault.what, fault.line) for fault in dropped] == [("objective", 1)]
    assert "`objective: ndcg@10`" in dropped[0].fix
    source = refusal(tmp_path, GOOD.replace("  train:", "  trian:")).faults
    assert [fault.what for fault in source] == ["unknown key data.trian"]


def test_the_value_of_an_unknown_key_is_never_shown(tmp_path):
    assert "sk-secret" not in str(refusal(tmp_path, GOOD + "api_key: sk-secret\n"))


def test_passwords_in_shown_values_are_masked(tmp_path):
    text = GOOD.replace("name: support", "name: https://me:hunter2@host")
    message = str(refusal(tmp_path, text))
    assert "me:***@host" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("data", "what", "words"),
    [
        ("{seed: 1}", "data.train", "none of builtin, beir, hf and train given"),
        ("{train: a, beir: b}", "data.train", "beir and train given"),
        ("{builtin: python-docs, beir: b}", "data.train", "builtin and beir given"),
        ("{beir: b, valid: v}", "data.valid", "it belongs to train"),
        ("{builtin: python-docs, format: pairs}", "data.format", "it belongs to train"),
        ("{builtin: python-docs, slice_by: a}", "data.slice_by", "builtin has no fields"),
        ("{beir: b, slice_by: 5}", "data.slice_by", "expected text"),
        ("{beir: b, slice_by: ''}", "data.slice_by", "expected some text"),
        ("{train: a}", "data.split", "valid has neither a file nor a share"),
        ("{train: a, valid: b, test: c, split: {valid: 0.1}}", "data.split", "a file and a share"),
        (
            "{train: a, valid: b, test: c, format: scored, columns: {label: x}}",
            "data.columns",
            "label is no field of the format, expected sentence1",
        ),
    ],
)
def test_data_has_one_source_and_every_split(tmp_path, data, what, words):
    head, _, tail = GOOD.partition("  train:")
    text = head.replace("data:\n", f"data: {data}\n") + tail.partition("\n")[2].partition("\n")[2]
    found = [fault for fault in refusal(tmp_path, text).faults if fault.what == what]
    assert [fault.line for fault in found] == [2]
    assert words in found[0].why


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss.CACHED_MULTIPLE_NEGATIVES_RANKING, "no negatives in a batch of 1"),
        (Loss.BATCH_HARD_TRIPLET, "no negatives in a batch of 1"),
        (Loss.COSENT, "no second pair"),
        (Loss.CONTRASTIVE, None),
        (Loss.SOFTMAX, None),
    ],
)
def test_a_batch_of_one_is_refused_for_losses_that_compare_rows(tmp_path, loss, words):
    text = GOOD.replace("batch_size: 32", "batch_size: 1")
    text = text.replace("[multiple_negatives_ranking]", f"[{loss}]")
    if words:
        assert words in str(refusal(tmp_path, text))
    else:
        path = tmp_path / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_experiment(path, {}).space.arms[0].knobs["batch_size"] == Choice((1,))


def test_a_real_range_is_refused_in_a_grid_given_or_by_default(tmp_path):
    grid = GOOD.replace("sampler: tpe", "sampler: grid")
    given = grid.replace("learning_rate: 1e-5", "learning_rate: {low: 1e-5, high: 1e-4}")
    fault = refusal(tmp_path, given).faults[0]
    assert (fault.what, fault.line) == ("search.arms[0].learning_rate", 17)
    assert "list the values, such as [1e-05, 0.0001]" in fault.fix
    fault = refusal(tmp_path, grid.replace("      learning_rate: 1e-5\n", "")).faults[0]
    assert (fault.what, fault.line) == ("search.arms[0].learning_rate", 13)
    # The controls: whole ranges and lists are finite, and a real range cannot be listed.
    path = tmp_path / "experiment.yaml"
    path.write_text(
        grid.replace("batch_size: 32", "batch_size: {low: 3, high: 5}"), encoding="utf-8"
    )
    assert load_experiment(path, {}).space.size() == 3
    knobs = {"loss": Choice(("cosent",)), "learning_rate": Uniform(1e-5, 1e-4)}
    with pytest.raises(ValueError, match="cannot be listed"):
        list(SearchSpace((Arm("a", "local", knobs),), 0).assignments())


class Last:
    """Answers a search space with the last option; real ranges are not asked for here."""

    def choice(self, name, options):
        return options[-1]


def knobs_of(epochs: int) -> dict[str, Choice]:
    values = {"base_model": "b", "loss": "cosent", "learning_rate": 1e-5, "batch_size": 2}
    return {name: Choice((value,)) for name, value in (values | {"epochs": epochs}).items()}


def test_a_guard_in_two_spellings_is_refused(tmp_path):
    text = GOOD.replace("guards:\n  accuracy: -0.01", "guards: {mrr@5: 0, mrr_at_5: -0.1}")
    fault = refusal(tmp_path, text).faults[0]
    assert (fault.what, fault.line) == ("guards", 6)
    assert "two spellings" in fault.why


def test_two_arms_of_one_name_are_refused(tmp_path):
    arm = "    - {backend: local, name: a, base_model: b}\n"
    text = GOOD.partition("    - backend")[0] + arm + arm
    fault = refusal(tmp_path, text).faults[0]
    assert (fault.what, fault.line) == ("search.arms[1].name", 14)
    # The control: of such a space only the first arm is ever drawn.
    space = SearchSpace(tuple(Arm("a", "local", knobs_of(epochs)) for epochs in (1, 2)), 0)
    assert space.draw(Last())[1].epochs == 1


def test_a_knob_no_chosen_loss_has_is_refused(tmp_path):
    text = GOOD.replace("batch_size: 32", "margin: {low: 0.1, high: 0.5}")
    assert "triplet" in refusal(tmp_path, text).faults[0].fix
    path = tmp_path / "experiment.yaml"
    path.write_text(text.replace("[multiple", "[triplet, multiple"), encoding="utf-8")
    assert load_experiment(path, {}).space.arms[0].knobs["margin"] == Uniform(0.1, 0.5)
