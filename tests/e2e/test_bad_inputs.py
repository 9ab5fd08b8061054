"""What users get wrong, through the command line: the exit code, the place and the way out."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import pytest

from tests.e2e.small_project import GOOD, LABELLED, PAIRS, outcome, rows, write

COMMAND_LINES = [
    ("01 unknown command", ["swep", "mine.yaml"], 2, ["swep", "did you mean sweep?"]),
    ("02 no trials", ["sweep", "mine.yaml", "--trials", "0"], 2, ["whole number ≥ 1"]),
    ("02 negative trials", ["sweep", "mine.yaml", "--trials=-3"], 2, ["whole number ≥ 1"]),
    ("02 trials in words", ["sweep", "mine.yaml", "--trials", "abc"], 2, ["--trials abc"]),
    ("03 workers", ["sweep", "mine.yaml", "--workers", "4"], 2, ["--workers"]),
    ("07 unknown experiment", ["compare", "mine.yaml"], 2, ["has no sweep", "Fix:"]),
    ("08 nothing to promote", ["promote", "mine.yaml"], 2, ["has no sweep"]),
    ("10 slash in a name", ["history", "a/b"], 2, ["a/b"]),
    ("10 colon in a name", ["history", "a:b"], 2, ["a:b"]),
    ("10 empty name", ["history", ""], 2, ["Fix:"]),
    ("10 long name", ["history", "x" * 300], 2, ["Fix:"]),
    ("10 path as a name", ["rollback", "../x"], 2, ["../x"]),
    ("10 alias latest", ["serve", "models:/emb@latest"], 2, ["alias 'latest'", "A-Z, a-z, 0-9"]),
    ("10 alias of a number", ["serve", "models:/emb@v3"], 2, ["alias 'v3'", "A-Z, a-z, 0-9"]),
    ("10 path as an alias", ["serve", "models:/emb@../x"], 2, ["models:/name@champion"]),
    ("11 empty alias", ["serve", "models:/emb@"], 2, ["models:/emb@"]),
    ("11 unknown alias", ["serve", "models:/emb@nope"], 4, ["nope"]),
    ("11 unknown model", ["serve", "models:/nope@champion"], 4, ["nope"]),
    ("11 a run", ["serve", "runs:/x"], 2, ["runs:/x"]),
    ("12 open to all", ["serve", "emb", "--host", "0.0.0.0"], 2, ["0.0.0.0", "KEY"]),
    ("13 no such port", ["serve", "emb", "--port", "99999"], 2, ["99999", "0 to 65535"]),
    ("16 no file", ["check", "other.yaml"], 2, ["other.yaml", "no such file"]),
    ("16 a folder", ["check", "."], 2, ["folder"]),
    ("split of promotion", ["evaluate", "m", "mine.yaml", "--split", "test"], 5, ["promotion"]),
    ("unknown model", ["evaluate", "./none", "mine.yaml"], 2, ["no such folder"]),
    ("unknown option", ["check", "mine.yaml", "--frobnicate"], 2, ["--frobnicate"]),
    ("no command", [], 2, ["VERB"]),
]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [case[1:] for case in COMMAND_LINES],
    ids=[c[0] for c in COMMAND_LINES],
)
def test_command_lines(
    words: list[str],
    code: int,
    said: list[str],
    project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert outcome(*words) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    for word in said:
        assert word in error


EXPERIMENTS = [
    ("16 empty", "", 2, ["mine.yaml"]),
    ("17 syntax", GOOD.replace("trials: 2", "trials: [2"), 2, ["mine.yaml:"]),
    ("17 tab", GOOD.replace("  trials", "\ttrials"), 2, ["mine.yaml:6"]),
    ("17 twice", GOOD + "name: again\n", 2, ["mine.yaml:14", "name"]),
    ("17 object", GOOD.replace("accuracy", "!!python/object:os.system {}"), 2, ["mine.yaml:4"]),
    ("18 unknown key", GOOD.replace("learning_rate", "learnig_rate"), 2, ["learning_rate"]),
    ("19 reversed", GOOD.replace("2.0e-5", "{low: 1e-3, high: 1e-5}"), 2, ["0.001", "1e-05"]),
    ("19 log of zero", GOOD.replace("2.0e-5", "{low: 0, high: 1e-5, log: true}"), 2, ["log"]),
    ("21 NaN", GOOD.replace("2.0e-5", ".nan"), 2, ["learning_rate"]),
    ("21 true", GOOD.replace("2.0e-5", "true"), 2, ["learning_rate"]),
    ("21 half an epoch", GOOD.replace("epochs: 1", "epochs: 1.5"), 2, ["epochs", "1.5"]),
    ("21 empty batch", GOOD.replace("batch_size: 8", "batch_size: 0"), 2, ["batch_size"]),
    ("22 unknown loss", GOOD.replace("[softmax]", "[softmix]"), 2, ["softmix", "softmax"]),
    (
        "23 batch of one",
        GOOD.replace("[softmax]", "[cosent]").replace("size: 8", "size: 1"),
        2,
        ["1"],
    ),
    ("25 unknown base", GOOD.replace("all-MiniLM-L6-v2", "./none"), 2, ["no such folder"]),
    ("25 not on the hub", GOOD.replace("all-MiniLM-L6-v2", "no/such"), 4, ["no/such", "network"]),
    ("25 a branch", GOOD.replace("all-MiniLM-L6-v2", "no/such@main"), 2, ["no/such@main"]),
    ("26 cut at zero", GOOD.replace("accuracy", "ndcg@0"), 2, ["ndcg@0", "ndcg@k"]),
    ("26 unknown measure", GOOD.replace("accuracy", "bleu"), 2, ["bleu"]),
    ("27 not given", GOOD.replace("accuracy", "spearman"), 2, ["spearman", "what is measured"]),
]


@pytest.mark.parametrize(
    ("content", "code", "said"), [case[1:] for case in EXPERIMENTS], ids=[c[0] for c in EXPERIMENTS]
)
def test_experiment_files(
    content: str, code: int, said: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "mine.yaml", content)
    assert outcome("check", "mine.yaml") == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for word in said:
        assert word in error


def damaged(line: int, content: str) -> str:
    lines = rows(LABELLED).splitlines()
    lines[line - 1] = content
    return "\n".join(lines) + "\n"


DATA = [
    ("28 empty", b"", ["train.jsonl", "no records"]),
    ("28 blank lines", b"\n \n\n", ["no records"]),
    ("29 bad JSON", damaged(17, '{"text": "a", '), ["train.jsonl:17"]),
    ("29 two objects", damaged(9, '{"text": "a"} {"text": "b"}'), ["train.jsonl:9"]),
    ("29 cut off", rows(LABELLED)[:-9], ["train.jsonl:60"]),
    (
        "30 not UTF-8",
        damaged(4, '{"text": "café", "metadata": {"label": "x"}}').encode("latin-1"),
        ["train.jsonl:4", "byte", "UTF-8"],
    ),
    ("30 no mark", rows(LABELLED).encode("utf-16-le"), ["byte", "UTF-8"]),
    (
        "30 surrogate",
        damaged(4, r'{"text": "\ud800", "metadata": {"label": "x"}}'),
        ["train.jsonl:4"],
    ),
    ("31 missing key", damaged(5, '{"text": "a"}'), ["train.jsonl:5", "label"]),
    ("31 number", damaged(5, '{"text": 5, "metadata": {"label": "x"}}'), ["jsonl:5", "text"]),
    ("32 blank text", damaged(7, '{"text": "  ", "metadata": {"label": "x"}}'), ["train.jsonl:7"]),
]


@pytest.mark.parametrize(("content", "said"), [c[1:] for c in DATA], ids=[c[0] for c in DATA])
def test_data_files(
    content: str | bytes, said: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "train.jsonl", content)
    assert outcome("check", "mine.yaml") == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Fix:" in error
    for word in said:
        assert word in error


def test_the_good_one_is_sound_and_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control of all the cases above."""
    assert outcome("check", "mine.yaml", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert sum(document["rows"].values()) == 60
    assert document["truncated_share"] == {"all-MiniLM-L6-v2": 0.0}


def test_a_command_leaves_no_log_handler_behind(project: Path) -> None:
    assert outcome("check", "mine.yaml") == 0
    assert logging.getLogger("embedsweep").handlers == []


def test_all_faults_come_at_once_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project / "train.jsonl", damaged(3, "{}") + '{"text": 1}\n')
    assert outcome("check", "mine.yaml", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert {fault["line"] for fault in document["faults"]} == {3, 61}


def test_22_a_loss_the_data_cannot_feed_is_refused_with_what_fits(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "train.jsonl", rows(PAIRS))
    write(project / "mine.yaml", GOOD.replace("accuracy", "mrr@10").replace("softmax", "triplet"))
    assert outcome("check", "mine.yaml") == 2
    error = capsys.readouterr().err
    assert "triplet needs triplets" in error
    assert "multiple_negatives_ranking" in error


def test_23_a_single_pair_has_no_negatives(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, pairs in (("train", PAIRS[:1]), ("valid", PAIRS[2:20]), ("test", PAIRS[20:])):
        write(project / f"{name}.jsonl", rows(pairs))
    text = GOOD.replace("accuracy", "mrr@10").replace("softmax", "multiple_negatives_ranking")
    apart = "valid: valid.jsonl, test: test.jsonl}"
    write(project / "mine.yaml", text.replace("split: {valid: 0.3, test: 0.3}}", apart))
    assert outcome("check", "mine.yaml") == 2
    assert "what it can feed: no loss" in capsys.readouterr().err
    # The control: two pairs are each other's negatives.
    write(project / "train.jsonl", rows(PAIRS[:2]))
    assert outcome("check", "mine.yaml") == 0


def fresh(number: int) -> dict[str, object]:
    return {"text": f"unseen text {number}", "metadata": {"label": f"class {number % 3}"}}


def test_35_overlap_is_refused_with_its_rows_and_dropped_when_asked(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaked = {**LABELLED[4], "text": "TEXT  number 4 of 1!"}
    write(project / "test.jsonl", rows([leaked, *(fresh(i) for i in range(6))]))
    apart = GOOD.replace("{train: train.jsonl, split: {valid: 0.3, test: 0.3}}", "@").replace(
        "@", "{train: train.jsonl, test: test.jsonl, split: {valid: 0.3, test: 0}}"
    )
    write(project / "mine.yaml", apart)
    assert outcome("check", "mine.yaml") == 3
    error = capsys.readouterr().err
    assert "test.jsonl:1" in error
    assert "train.jsonl:5" in error
    assert "on_overlap: drop_from_train" in error
    write(project / "mine.yaml", apart.replace("test: 0}", "test: 0}, on_overlap: drop_from_train"))
    assert outcome("check", "mine.yaml") == 0


def test_37_long_texts_are_told_of(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = [{**LABELLED[0], "text": "many words " * 300}, *LABELLED[1:]]
    write(project / "train.jsonl", rows(long))
    assert outcome("check", "mine.yaml") == 0
    assert "longer than the 256 tokens" in capsys.readouterr().err


def test_04_05_a_store_that_does_not_answer_is_told_in_seconds_and_without_its_password(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:9/")
    assert outcome("compare", "mine.yaml") == 4
    error = capsys.readouterr().err
    assert "127.0.0.1:9" in error
    assert "s3cret" not in error


def test_13_a_port_in_use(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert outcome("serve", "emb", "--port", port) == 4
    assert port in capsys.readouterr().err


def test_53_an_unwritable_home(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDSWEEP_HOME", "/proc/nowhere")
    assert outcome("check", "mine.yaml") == 2
    assert "EMBEDSWEEP_HOME" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no folder nobody can write")
@pytest.mark.parametrize("verb", ["check", "sweep", "compare", "promote"])
def test_53_a_current_directory_that_cannot_be_written(
    verb: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = str(project / "mine.yaml")
    monkeypatch.chdir("/proc")
    assert outcome(verb, experiment) == 2
    error = capsys.readouterr().err
    assert "/proc/mlruns" in error
    assert "it cannot be written" in error
    assert "make the folder writable or choose another one" in error


def test_54_a_clock_long_before_its_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 1971."""
    monkeypatch.setattr("time.time", lambda: 365 * 86_400.0)
    for words in (["check", "mine.yaml"], ["doctor"], ["jobs"]):
        assert outcome(*words) == 0
