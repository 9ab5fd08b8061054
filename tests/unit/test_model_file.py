"""What a folder says of its model: read back as written, refused when it says anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedsweep.backends.model_file import MODEL_FILE, kind_of, read_model_file, write_model_file
from embedsweep.core.errors import DataError

ADAPTER = {
    "kind": "adapter",
    "base": {"model": "all-MiniLM-L6-v2", "provider": None, "dimensions": None},
    "base_digest": "53aa",
    "head": "low_rank",
    "width": 8,
    "dimension": 384,
    "key_variable": None,
}
HOSTED = {
    "kind": "hosted",
    "provider": "http://127.0.0.1:8000/v1",
    "model": "ft:small:abc",
    "dimensions": None,
    "dimension": 384,
    "base_model": "small",
    "job_id": "ftjob-1",
    "key_variable": None,
}


@pytest.mark.parametrize(
    "values",
    [
        ADAPTER,
        HOSTED,
        {**ADAPTER, "key_variable": "TEAM_TOKEN"},
        {**HOSTED, "key_variable": "OPENAI_API_KEY"},
        {**HOSTED, "prompts": {"query": "query: ", "plain": ""}},
        {**ADAPTER, "base": {**ADAPTER["base"], "prompts": {"document": "passage: "}}},  # type: ignore[dict-item]
    ],
)
def test_what_is_written_is_read(values: dict[str, object], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model_file(folder, values)
    assert read_model_file(folder) == {"version": 1, **values}
    assert kind_of(folder) == values["kind"]


def test_a_folder_without_the_file_holds_a_local_model(tmp_path: Path) -> None:
    assert kind_of(tmp_path) == "local"
    with pytest.raises(DataError, match=r"No such file.*Fix: "):
        read_model_file(tmp_path)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({**ADAPTER, "version": 2}, "version"),
        ({**ADAPTER, "version": True}, "version"),
        ({**ADAPTER, "kind": "local"}, "kind"),
        ({**ADAPTER, "kind": ["adapter"]}, "kind"),
        ({**ADAPTER, "base": "all-MiniLM-L6-v2"}, "base"),
        ({**ADAPTER, "base": {"model": "", "provider": None, "dimensions": None}}, "base.model"),
        ({**ADAPTER, "base": {"model": "m", "dimensions": None}}, "base.provider"),
        ({**ADAPTER, "base": {**ADAPTER["base"], "dimensions": 1.5}}, "base.dimensions"),  # type: ignore[dict-item]
        ({**ADAPTER, "base": {**ADAPTER["base"], "port": 1}}, "base.port"),  # type: ignore[dict-item]
        ({**ADAPTER, "base": {**ADAPTER["base"], "prompts": {"query": 1}}}, "base.prompts"),  # type: ignore[dict-item]
        ({**ADAPTER, "prompts": {"query": "query: "}}, "prompts"),
        ({**HOSTED, "prompts": {"question": "query: "}}, "prompts"),
        ({**HOSTED, "prompts": None}, "prompts"),
        ({**ADAPTER, "head": "cubic"}, "head"),
        ({**ADAPTER, "head": {}}, "head"),
        ({**ADAPTER, "width": "8"}, "width"),
        ({**ADAPTER, "dimension": 0}, "dimension"),
        ({**ADAPTER, "dimension": True}, "dimension"),
        ({**ADAPTER, "key_variable": "HOME"}, "key_variable"),
        ({**HOSTED, "key_variable": "AWS_SECRET_ACCESS"}, "key_variable"),
        (
            {name: value for name, value in ADAPTER.items() if name != "key_variable"},
            "key_variable",
        ),
        ({**HOSTED, "dimension": None}, "dimension"),
        ({**HOSTED, "model": 3}, "model"),
        ({**HOSTED, "key": "sk-stray"}, "key"),
        ({name: value for name, value in HOSTED.items() if name != "job_id"}, "job_id"),
    ],
)
def test_anything_else_is_refused_when_written_and_when_read(
    values: dict[str, object], what: str, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    with pytest.raises(DataError) as refused:
        write_model_file(folder, values)
    assert not folder.exists()
    assert [fault.what for fault in refused.value.faults] == [what]
    (tmp_path / MODEL_FILE).write_text(json.dumps({"version": 1, **values}))
    with pytest.raises(DataError) as refused:
        kind_of(tmp_path)
    (fault,) = refused.value.faults
    assert fault.what == what
    assert "expected" in fault.why
    assert "sk-stray" not in str(refused.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    broken = {**HOSTED, "dimension": -1, "model": "", "extra": 1}
    with pytest.raises(DataError) as refused:
        write_model_file(tmp_path, broken)
    assert {fault.what for fault in refused.value.faults} == {"dimension", "model", "extra"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_bytes(content)
    with pytest.raises(DataError, match="model file"):
        kind_of(tmp_path)
