"""A sweep in which every trial fails prints its leaderboard and ends in an error code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.projects import PAIRS, Project
from tests.integration.tiny_models import make_tiny_base

EXPERIMENT = """
name: failing
data: {train: pairs.jsonl, split: {valid: 0.3, test: 0.3}}
objective: mrr@10
search:
  trials: 2
  arms:
    - backend: local
      base_model: tiny
      loss: [multiple_negatives_ranking]
      epochs: 1
      learning_rate: {low: RATE, high: 1.0, log: true}
      batch_size: 8
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_all_trials_failed(tmp_path: Path, as_json: bool) -> None:
    made = Project(tmp_path).with_stores()
    make_tiny_base(tmp_path / "tiny")
    made.write_rows("pairs.jsonl", PAIRS)
    (tmp_path / "failing.yaml").write_text(EXPERIMENT.replace("RATE", "0.9"))
    words = ("sweep", "failing.yaml", *(["--json"] if as_json else []))
    ended = made.call(*words, code=3)
    assert re.search(r"2 of 2 trials failed \(2 \w+\); the first: ", ended.err)
    assert "Fix: " in ended.err
    if as_json:
        document = json.loads(ended.out)
        assert [trial["state"] for trial in document["trials"]] == ["failed", "failed"]
        assert document["promotion"] is None
        return
    assert ended.out.count("failed: ") == 2
    # The advice: with other ranges the same name is swept again.
    good = EXPERIMENT.replace("RATE", "1.0e-3").replace("high: 1.0,", "high: 1.0e-2,")
    (tmp_path / "failing.yaml").write_text(good)
    made.call("sweep", "failing.yaml", "--new-study", code=0)
