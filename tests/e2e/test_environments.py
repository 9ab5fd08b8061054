"""The command line where the terminal, the locale and the folders are poor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedsweep.core.fingerprint import fingerprint

EXPERIMENT = """
name: mine
data: {train: train.jsonl, split: {valid: 0.3, test: 0.3}}
objective: accuracy
search:
  trials: 1
  arms: [{backend: local, base_model: all-MiniLM-L6-v2, loss: softmax, epochs: 1}]
"""


def _check(
    folder: Path, rows: list[object], **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "mine.yaml").write_text(EXPERIMENT)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EMBEDSWEEP_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "embedsweep", "check", "mine.yaml"],
        cwd=folder,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("locale", ["C", "POSIX", "no_SUCH.locale"])
def test_a_poor_locale_and_no_terminal_home_or_temporary_folder_change_nothing(tmp_path, locale):
    rows = [
        {"text": f"ärger {fingerprint(i)}", "metadata": {"label": f"größe {i % 2}"}}
        for i in range(40)
    ]
    absent = str(tmp_path / "absent")
    done = _check(tmp_path, rows, LC_ALL=locale, COLUMNS="80", HOME="", TMPDIR=absent)
    assert done.returncode == 0
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["note"]
    assert "\x1b" not in done.stdout + done.stderr


def test_a_fault_is_told_in_the_text_s_own_letters(tmp_path):
    rows = [{"text": "größe", "metadata": {}}, {"text": "ärger", "metadata": {"label": "ß"}}]
    done = _check(tmp_path, rows, LC_ALL="C", COLUMNS="80")
    assert done.returncode == 3
    assert "train.jsonl:1" in done.stderr
    assert "Traceback" not in done.stderr
