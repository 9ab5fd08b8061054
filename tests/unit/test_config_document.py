"""The experiment file as a file and as YAML: what cannot be read is refused with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from embedsweep.config import load_experiment
from embedsweep.config.document import MAX_NODES, read_document
from embedsweep.core.errors import UsageError

GOOD = """\
name: a
data: {builtin: python-docs}
objective: accuracy
search: {trials: 1, arms: [{backend: local, base_model: m}]}
"""

BOMB = "a0: &a0 [1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 6)
)


@pytest.fixture
def experiment(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "experiment.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_experiment(path, {})
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return caught.value


def test_the_good_file_is_good(experiment):
    assert load_experiment(experiment(GOOD)).name == "a"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n- b\n", "its top level is a list"),
        ("hello", "its top level is a single value"),
        ("name: é".encode("latin-1"), "byte 6 is not UTF-8 text"),
        (GOOD.encode("utf-16"), "byte 0 is not UTF-8 text"),
        (b"x" * 200_001, "it is larger than 200000 bytes"),
        ("name: \x07", "character U+0007 may not stand in YAML"),
        ("[" * 50_000, "it is nested too deeply"),
    ],
)
def test_what_is_no_experiment_file_is_refused(experiment, content, why):
    assert why in refusal(experiment(content)).faults[0].why


def test_missing_files_and_folders_are_named(tmp_path: Path):
    assert "no such file" in str(refusal(tmp_path / "absent.yaml"))
    assert "this is a folder" in str(refusal(tmp_path))
    assert "cannot be read" in str(refusal(tmp_path / ("x" * 300)))


def test_an_unreadable_file_is_refused_with_the_reason(tmp_path: Path):
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "symbolic links" in str(refusal(loop))


def test_a_file_without_read_permission_is_refused(experiment):
    path = experiment(GOOD)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads everything, so another user looks
        os.seteuid(65534)
    try:
        assert "Permission denied" in str(refusal(path))
    finally:
        os.seteuid(user)
    path.chmod(0o600)
    assert load_experiment(path, {}).name == "a"


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert "no regular file" in str(refusal(pipe))


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (GOOD + "budget:\n\tminutes: 3\n", 6, ("6:1", "tab", "spaces")),
        (GOOD + "budget: {minutes: 3\n", 6, ("6:1", "expected")),
        (GOOD + "budget: a: b\n", 5, ("5:10", "mapping values")),
        (GOOD + "---\n" + GOOD, 5, ("5:1", "single document")),
        (GOOD + "budget: *unknown\n", 5, ("5:9", "alias")),
    ],
)
def test_syntax_errors_have_line_and_column(experiment, content, line, words):
    fault = refusal(experiment(content)).faults[0]
    assert fault.line == line
    for word in words:
        assert word in f"{fault.why} {fault.fix}"


def test_duplicate_keys_are_refused_with_both_places(experiment):
    content = GOOD + "name: b\n"
    fault = refusal(experiment(content)).faults[0]
    assert (fault.what, fault.line) == ("duplicate key name", 5)
    assert "1:1" in fault.why
    assert "5:1" in fault.why
    # The control: the library takes the last one without a word.
    assert yaml.safe_load(content)["name"] == "b"


def test_duplicate_keys_deep_inside_are_named_with_their_path(experiment):
    content = GOOD.replace("base_model: m", "base_model: m, base_model: n")
    assert refusal(experiment(content)).faults[0].what == (
        "duplicate key search.arms[0].base_model"
    )


def test_tags_never_build_objects(experiment, tmp_path: Path):
    mark = tmp_path / "built"
    evil = f"!!python/object/apply:os.mkdir [{mark}]"
    content = GOOD.replace("name: a", f"name: {evil}")
    error = refusal(experiment(content))
    assert [fault.line for fault in error.faults] == [1]
    assert "python/object/apply:os.mkdir" in error.faults[0].what
    assert not mark.exists()
    # The control: a loader that follows tags does make the folder.
    yaml.unsafe_load(evil)
    assert mark.exists()


@pytest.mark.parametrize("tag", ["!!set {a}", "!!binary aGk=", "!mine x", "!!int abc"])
def test_other_tags_are_refused_with_their_line(experiment, tag):
    fault = refusal(experiment(GOOD + f"budget: {tag}\n")).faults[0]
    assert fault.line == 5
    assert tag.split()[0] in f"{fault.what} {fault.why}"


@pytest.mark.parametrize("text", [r'"a\0b"', r'"\ud800"'])
def test_text_that_no_file_or_message_can_hold_is_refused(experiment, text):
    content = GOOD.replace("base_model: m", f"base_model: {text}")
    fault = refusal(experiment(content)).faults[0]
    assert (fault.what, fault.line) == ("search.arms[0].base_model", 4)


@pytest.mark.parametrize("content", [BOMB, "a: &a [*a]\n", "a: &a {b: *a}\n"])
def test_aliases_that_grow_without_end_are_refused(experiment, content):
    assert f"more than {MAX_NODES} values" in str(refusal(experiment(content)))


def test_the_bomb_would_have_grown():
    def size(value: object) -> int:
        return sum(map(size, value)) if isinstance(value, list) else 1

    assert size(yaml.safe_load(BOMB)["a5"]) > MAX_NODES


def test_plain_aliases_are_followed(experiment):
    content = GOOD.replace("trials: 1", "trials: &n 3, seed: *n")
    assert load_experiment(experiment(content)).space.seed == 3


def test_keys_that_are_no_words_are_refused(experiment):
    fault = refusal(experiment(GOOD + "? [a]\n: 3\n")).faults[0]
    assert (fault.line, fault.why) == (5, "a key is a list, expected a plain word")


@pytest.mark.parametrize("content", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")])
def test_byte_order_marks_and_windows_line_ends_are_read(experiment, content):
    assert load_experiment(experiment(content)).name == "a"


def test_scalars_follow_the_core_schema_of_yaml_1_2(experiment):
    text = "{a: 1e-5, b: 010, c: no, d: 2024-01-01, e: 1:30, f: .5, g: ~, h: -.inf, i: true}"
    tree = read_document(experiment(text)).tree
    assert tree == {
        "a": 1e-5,
        "b": 10,
        "c": "no",
        "d": "2024-01-01",
        "e": "1:30",
        "f": 0.5,
        "g": None,
        "h": float("-inf"),
        "i": True,
    }
    # The control: YAML 1.1 reads some of these as something else.
    old = yaml.safe_load(text)
    assert (old["a"], old["b"], old["c"], old["e"]) == ("1e-5", 8, False, 90)
