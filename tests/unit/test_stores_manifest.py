"""The manifest of a model, and who owns a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from embedsweep.core.errors import DataError
from embedsweep.stores.manifest import MANIFEST_FILE, files_in, verify, write_manifest
from embedsweep.stores.owner import Owner


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def digest(model):
    return write_manifest(files_in(model, "here"), model / MANIFEST_FILE)


def test_a_manifest_lists_every_other_file_sorted(model, digest):
    rows = json.loads((model / MANIFEST_FILE).read_text())
    assert [row["path"] for row in rows] == [
        "1_Pooling/config.json",
        "MLmodel",
        "model.safetensors",
    ]
    assert rows[2]["size"] == 256
    # sha256 of the bytes 0 to 255, as any other tool gives it
    assert rows[2]["sha256"] == "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880"
    verify(model, digest, "here")


def test_equal_models_have_equal_manifests(model, digest, tmp_path):
    assert write_manifest(files_in(model, "here"), tmp_path / "again.json") != digest
    (model / MANIFEST_FILE).unlink()
    assert write_manifest(files_in(model, "here"), tmp_path / "again.json") == digest


@pytest.mark.parametrize(
    "name",
    [
        "a.py",
        "a.bin",
        "a.pkl",
        "a.pt",
        "a.so",
        "a.pth",
        "a.SAFETENSORS",
        "a",
        ".hidden",
        "a.json.gz",
    ],
)
def test_kinds_that_may_hold_code_are_refused(model, name):
    (model / name).write_text("")
    with pytest.raises(DataError, match="its kind may hold code") as caught:
        files_in(model, "models:/support/1")
    assert f"file {name} in models:/support/1" in str(caught.value)


def test_a_pipe_is_refused_without_waiting_for_it(model):
    os.mkfifo(model / "pipe.json")
    with pytest.raises(DataError, match="no plain file"):
        files_in(model, "here")


def test_every_fault_is_told_at_once(model, digest):
    (model / "MLmodel").write_text("flavors: {evil}\n")
    (model / "extra.json").write_text("{}")
    (model / "model.safetensors").unlink()
    with pytest.raises(DataError) as caught:
        verify(model, digest, "here")
    named = [(fault.what, fault.why.split(",")[0]) for fault in caught.value.faults]
    assert named == [
        ("file MLmodel", "it has 16 bytes"),
        ("file extra.json", "it is in no manifest"),
        ("file model.safetensors", "it is missing"),
    ]


def test_an_owner_reads_back_as_written():
    here = Owner.here()
    assert Owner.parse(str(here)) == here
    for text in ("", "host", "host/x/1", "host/1/2/3"):
        assert Owner.parse(text) is None


def test_another_living_process_is_told_from_a_dead_one_and_from_its_number_used_again():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = Owner.here()
    assert not here.is_alive_beside()
    other = Owner.of(process.pid)
    assert other.is_alive_beside()
    assert not replace(other, started="an older boot").is_alive_beside()
    assert not replace(other, host="elsewhere").is_alive_beside()
    process.kill()
    # Ended and not yet collected by its parent: it runs no more.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not other.is_alive_beside()
    process.communicate()
    assert not other.is_alive_beside()
