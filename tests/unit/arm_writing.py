"""Experiment files that differ in their arms, and what reading them gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import load_experiment
from embedsweep.core.errors import Fault, UsageError
from embedsweep.core.experiment import Experiment

HEAD = """\
name: arms
data: {builtin: python-docs}
objective: ndcg@10
search:
  trials: 3
  sampler: tpe
  arms:
"""
ARM_LINE = len(HEAD.splitlines()) + 1
LOCAL = "    - backend: local\n      base_model: m\n"
ADAPTER = "    - backend: adapter\n      base_model: m\n"
HOSTED = "    - backend: hosted\n      base_model: m\n"
URL = "http://gpu-machine:8000/v1"
RANKING = "multiple_negatives_ranking"


class Lowest:
    """Answers a search space with the least of everything."""

    def choice(self, name, options):
        return options[0]

    def uniform(self, name, low, high, *, log):
        return low

    def integer(self, name, low, high, *, log):
        return low


def load(folder: Path, text: str, **environ: str) -> Experiment:
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, environ)


def refused(folder: Path, text: str) -> tuple[Fault, ...]:
    with pytest.raises(UsageError) as caught:
        load(folder, text)
    assert all(fault.where == str(folder / "experiment.yaml") for fault in caught.value.faults)
    return caught.value.faults


def indented(lines: str) -> str:
    return "".join(f"      {line.strip()}\n" for line in lines.splitlines())
