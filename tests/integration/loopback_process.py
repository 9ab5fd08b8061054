"""A process that uses the loopback service: `python -m tests.integration.loopback_process`.

It loads the heavy libraries and says so, so that two can ask at once; then it takes orders, a JSON
list a line, and answers each with a line. ``tune`` trains, in the process that serves; ``begin``
makes a job and cancels it. Every process it starts loads this module again, so that
what only it needs is loaded by `main`.
"""

from __future__ import annotations

import json
import sys

TEXTS = ["an apple pie", "a red car"]
ROWS = [
    ("apple pie", "fruit"),
    ("pear tart", "fruit"),
    ("red car", "vehicle"),
    ("blue bus", "vehicle"),
]


def main():
    from pathlib import Path

    import embedsweep.backends.local.backend  # noqa: F401 - before the race begins
    from embedsweep.wiring.loopback import Loopback
    from tests.integration.fine_tuning_twins import journal

    _say("ready")
    with journal() as told:
        loopback = None
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            if name == "open":
                loopback = Loopback(Path(*arguments))
                answer = None
            elif name == "close":
                answer = loopback.close()
            elif name == "tune":
                answer = tune(loopback.client(), told.wait_for_end)
            elif name == "begin":
                answer = tune(loopback.client(), loopback.client().fine_tuning.jobs.cancel)
            else:
                answer = ASKED[name](loopback.client(), *arguments)
            _say(answer)


def embed(client, model):
    reply = client.embeddings.create(model=model, input=TEXTS)
    return [row.embedding for row in reply.data]


def holdings(client):
    """Files, jobs and models, as the API lists them to whoever has the key."""
    lists = (client.files, client.fine_tuning.jobs, client.models)
    return [sorted(item.id for item in listed.list()) for listed in lists]


def tune(client, end):
    """The real training, on four rows and for one epoch, ended by a call with the job's id."""
    import io

    from embedsweep.backends.local.base_models import EMBEDDED
    from tests.integration.fine_tuning_twins import labelled

    content = io.BytesIO(labelled(ROWS))
    file = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
    jobs = client.fine_tuning.jobs
    hyperparameters = {"n_epochs": 1, "batch_size": 4, "loss": "softmax"}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = jobs.create(model=EMBEDDED, training_file=file.id, seed=7, method=method)
    end(job.id)
    return jobs.retrieve(job.id).fine_tuned_model


def serves():
    """Whether this is the process that runs a service."""
    import threading

    return "serve" in [thread.name for thread in threading.enumerate()]


ASKED = {"embed": embed, "holdings": holdings, "serves": lambda client: serves()}


def _say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
