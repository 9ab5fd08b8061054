"""The README's programs, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.projects import BASE, PATIENCE, Project

MARK = "# tune.py\n"
MOST_LINES = 25
COSINE = re.compile(r"^(\S+): cosine (-?\d\.\d+)$", re.M)


def block(page: str, mark: str) -> str:
    """The one fenced Python block that begins with the line."""
    found = [
        code for code in re.findall(r"```python\n(.*?)```", page, re.S) if code.startswith(mark)
    ]
    assert len(found) == 1, f"the README has {len(found)} blocks that begin with {mark!r}"
    return found[0]


@pytest.mark.slow
def test_tune_py_tunes_a_model_over_the_api(tmp_path: Path) -> None:
    code = block((ROOT / "README.md").read_text(encoding="utf-8"), MARK)
    assert code.count("\n") <= MOST_LINES
    script = tmp_path / "tune.py"
    script.write_text(code)
    project = Project(tmp_path)
    with project.served("--fine-tuning") as client:
        ran = subprocess.run(
            [sys.executable, script.name],
            cwd=tmp_path,
            env=project.environment
            | {"OPENAI_BASE_URL": str(client.base_url), "OPENAI_API_KEY": "none"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, ran.stderr
        job = client.fine_tuning.jobs.list().data[0]
    assert job.model == BASE
    (before, base), (after, tuned) = (
        (float(cosine), model) for model, cosine in COSINE.findall(ran.stdout)
    )
    assert (base, tuned) == (BASE, job.fine_tuned_model)
    assert before < after
