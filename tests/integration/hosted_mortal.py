"""A worker that dies at a point of its choice, through nothing but the public ports."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import httpx2

from embedsweep.backends.hosted.order import JobOrder
from embedsweep.backends.hosted.training_file import training_file
from embedsweep.stores.job_book import SqlJobBook
from embedsweep.stores.owner import Owner
from tests.integration.hosted_parts import DATA, RECIPE, Desk, score_of

POINTS = (
    "before intent",
    "after intent",
    "after POST sent",
    "after reply",
    "after id stored",
    "during poll",
    "after succeeded, before evaluation",
    "after evaluation, before tell",
    "after tell",
)
CREATE = ("POST", "/v1/fine_tuning/jobs")
POLL = ("GET", "/v1/fine_tuning/jobs/ftjob-1")
KEY = JobOrder(RECIPE, training_file(DATA, RECIPE.form)).key
ANOTHER = Owner("another-machine", 4711, "boot:1")


@dataclass
class Fate:
    """Kills this process at the point, or at none."""

    point: str | None

    def reached(self, point):
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalBook:
    """A job book, and the points around what it is asked."""

    def __init__(self, book, fate):
        self._book, self._fate = book, fate

    def __getattr__(self, name):
        return getattr(self._book, name)

    def claim(self, key, charge, account):
        self._fate.reached("before intent")
        claim = self._book.claim(key, charge, account)
        self._fate.reached("after intent")
        return claim

    def submitted(self, record, job_id, file_id):
        record = self._book.submitted(record, job_id, file_id)
        self._fate.reached("after id stored")
        return record


class MortalTransport(httpx2.BaseTransport):
    """Carries requests, and the points around them."""

    def __init__(self, fate):
        self._transport, self._fate = httpx2.HTTPTransport(), fate

    def handle_request(self, request):
        asked = (request.method, request.url.path)

        def trace(event, info):
            if asked == CREATE and event == "http11.send_request_body.complete":
                self._fate.reached("after POST sent")

        request.extensions["trace"] = trace
        reply = self._transport.handle_request(request)
        reply.read()
        if asked == CREATE:
            self._fate.reached("after reply")
        if asked == POLL:
            self._fate.reached("during poll")
        return reply


def work(url, folder, point, is_another):
    """Have the recipe's result: known, or trained, measured and told in one line of a file."""
    folder, fate = Path(folder), Fate(point)
    results = folder / "results.jsonl"
    if results.exists():
        return
    owner, lease = (ANOTHER, 0.1) if is_another else (None, 900.0)
    book = SqlJobBook(f"sqlite:///{folder / 'jobs.db'}", owner=owner, lease=lease)
    client = httpx2.Client(transport=MortalTransport(fate))
    desk = Desk(url, folder, http_client=client, book=MortalBook(book, fate))
    measured = []

    def on_epoch(end):
        if end.epoch == RECIPE.epochs:
            fate.reached("after succeeded, before evaluation")
            measured.append(score_of(end.embedder))
            fate.reached("after evaluation, before tell")

    desk.train(on_epoch=on_epoch)
    with results.open("a") as file:
        file.write(json.dumps({"job": desk.heard.facts["job_id"], "score": measured[-1]}) + "\n")
    fate.reached("after tell")
